"""Commands at the wrong time, with a real gateway, Redis and worker: refused before jambonz can ignore them."""

from typing import Any, Final

import pytest

from jambonz_simulator import CallOptions, LiveCall, Script, live_call
from jambonz_workers import Calls, RemoteCall
from tests.cluster_fixture import ClusterFactory
from tests.conditions import until

APP: Final = "tests.apps.commanding:app"
FAST: Final = CallOptions(speed=20)
SAY: Final = {"verb": "say", "text": "psst"}


async def tried(call: LiveCall, remote: RemoteCall, method: str, *positional: Any) -> str:
    """Let the application try a method; return why it was refused."""
    await call.send_hook("/try", args={"method": method, "positional": positional, "named": {}})
    why: str = (await remote.state())["why"]
    return why


@pytest.mark.parametrize(
    ("method", "positional"),
    [("mute", ()), ("whisper", (SAY,)), ("conference_mute", ()), ("listen_pause", ()), ("media_path", ("no-media",))],
)
async def test_what_needs_another_verb_is_refused_while_a_gather_runs(
    cluster: ClusterFactory, redis_url: str, method: str, positional: tuple[Any, ...]
) -> None:
    """An application that asks for ``notifyEvents`` knows what runs; nothing goes to jambonz in vain."""
    running = await cluster(APP)
    async with (
        Calls.connect(redis_url) as calls,
        live_call(f"{running.url}/commanding/notified", Script(), FAST) as call,
    ):
        await call.wait_for_verb("gather")
        remote = await calls.get(call.call_sid)

        async def is_known() -> bool:
            return bool(await tried(call, remote, "media_path", "full-media"))

        await until(is_known, "the worker has heard that a gather runs")
        assert await tried(call, remote, method, *positional) == "the running verb is 'gather'"
        assert await tried(call, remote, "dtmf", "5") == ""
        await call.wait_for_command("dtmf")
        assert {record.verdict for record in call.commands if record.command == "dtmf"} == {"accepted"}
        call.hang_up()
        await call.wait_for_end()

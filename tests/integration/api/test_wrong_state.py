"""Commands at the wrong time, with a real gateway, Redis and worker: refused before jambonz can ignore them."""

from typing import Any, Final

import pytest

from jambonz_simulator import CallOptions, LiveCall, Script, live_call
from tests.cluster_fixture import ClusterFactory
from tests.conditions import until

APP: Final = "tests.apps.commanding:app"
FAST: Final = CallOptions(speed=20)
SAY: Final = {"verb": "say", "text": "psst"}


async def tried(call: LiveCall, method: str, *positional: Any, **named: Any) -> str:
    """Let the application try a method; return why it was refused."""
    args = {"method": method, "positional": positional, "named": named}
    hook = await call.send_hook("/try", args=args)
    why: str = hook.verbs[0]["data"]["why"]
    return why


@pytest.mark.parametrize(
    ("method", "positional"),
    [("mute", ()), ("whisper", (SAY,)), ("conference_mute", ()), ("listen_pause", ()), ("media_path", ("no-media",))],
)
async def test_what_needs_another_verb_is_refused_while_a_gather_runs(
    cluster: ClusterFactory, method: str, positional: tuple[Any, ...]
) -> None:
    """An application that asks for ``notifyEvents`` knows what runs; nothing goes to jambonz in vain."""
    running = await cluster(APP)
    async with live_call(f"{running.url}/commanding/notified", Script(), FAST) as call:
        await call.wait_for_verb("gather")

        async def is_known() -> bool:
            return bool(await tried(call, "media_path", "full-media"))

        await until(is_known, "the worker has heard that a gather runs")
        assert await tried(call, method, *positional) == "the running verb is 'gather'"
        assert await tried(call, "dtmf", "5") == ""
        await call.wait_for_command("dtmf")
        assert {record.verdict for record in call.commands if record.command == "dtmf"} == {"accepted"}
        call.hang_up()
        await call.wait_for_end()

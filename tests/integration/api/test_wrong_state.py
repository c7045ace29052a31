"""Commands at the wrong time, with a real gateway, Redis and worker: what cannot help is refused, the rest is sent."""

from typing import Any, Final

import pytest

from jambonz_simulator import CallOptions, LiveCall, Script, live_call
from jambonz_workers import Calls, RemoteCall
from tests.cluster_fixture import ClusterFactory
from tests.conditions import until

pytestmark = pytest.mark.lasting_clusters

APP: Final = "tests.apps.commanding:app"
FAST: Final = CallOptions(speed=20)
SAY: Final = {"verb": "say", "text": "psst"}


async def tried(call: LiveCall, remote: RemoteCall, method: str, *positional: Any) -> str:
    """Let the application try a method; return why it was refused."""
    await call.send_hook("/try", args={"method": method, "positional": positional, "named": {}})
    why: str = (await remote.state())["why"]
    return why


async def test_an_answered_call_is_not_refused_any_more(cluster: ClusterFactory, redis_url: str) -> None:
    """The application learns it where it asks; nothing goes to jambonz in vain."""
    running = await cluster(APP)
    async with (
        Calls.connect(redis_url) as calls,
        live_call(f"{running.url}/commanding/gather", Script(), FAST) as call,
    ):
        await call.wait_for_verb("gather")
        remote = await calls.get(call.call_sid)

        async def is_known() -> bool:
            return await tried(call, remote, "no_answer") == "the call is answered"

        await until(is_known, "the worker has heard that the call is answered")
        sent_before = len(call.commands)
        assert await tried(call, remote, "no_answer") == "the call is answered"
        assert await tried(call, remote, "dtmf", "5") == ""
        await call.wait_for_command("dtmf")
        assert [(it.command, it.verdict) for it in call.commands[sent_before:]] == [("dtmf", "accepted")]
        call.hang_up()
        await call.wait_for_end()


@pytest.mark.parametrize(
    ("method", "positional", "command"),
    [
        ("mute", (), "mute:status"),
        ("whisper", (SAY,), "whisper"),
        ("conference_mute", (), "conf:mute-status"),
        ("listen_pause", (), "listen:status"),
        ("media_path", ("no-media",), "media:path"),
        ("tool_output", ("t1", {"type": "conversation.item.create"}), "llm:tool-output"),
    ],
)
async def test_what_needs_another_verb_is_sent_and_does_no_harm(
    cluster: ClusterFactory, redis_url: str, method: str, positional: tuple[Any, ...], command: str
) -> None:
    """The verb that runs may be another one by the time it arrives; jambonz passes over it, and the call goes on."""
    running = await cluster(APP)
    async with (
        Calls.connect(redis_url) as calls,
        live_call(f"{running.url}/commanding/notified", Script(), FAST) as call,
    ):
        await call.wait_for_verb("gather")
        remote = await calls.get(call.call_sid)
        assert await tried(call, remote, method, *positional) == ""
        record = await call.wait_for_command(command)
        assert record.verdict == "ignored"
        assert await tried(call, remote, "dtmf", "5") == ""
        await call.wait_for_command("dtmf")
        call.hang_up()
        await call.wait_for_end()

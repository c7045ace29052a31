"""Every row of PROTOCOL.md 3.2 through a real gateway, Redis and worker; the simulator follows it as jambonz does."""

from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from jambonz_simulator import CallOptions, Dial, LiveCall, Script, ToolCall, live_call
from jambonz_workers.capabilities import COMMANDS
from tests.cluster_fixture import ClusterFactory

pytestmark = pytest.mark.lasting_clusters

APP: Final = "tests.apps.commanding:app"
SAY: Final = {"verb": "say", "text": "psst"}
FAR_END: Final = Script(dials=(Dial(talk_s=None),), model=(ToolCall("find"),))

OUTPUT: Final = {"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "call_1"}}
UPDATE: Final = {"type": "session.update", "session": {}}


@dataclass(frozen=True)
class Sent:
    """A method, what it is given, the command it sends, and the leg it is for (``"B"``: the dialled one)."""

    command: str
    method: str
    positional: tuple[Any, ...] = ()
    named: dict[str, Any] = field(default_factory=dict)
    leg: str = ""


# By the state that jambonz must be in.
ROWS: Final[dict[str, list[Sent]]] = {
    "gather": [
        Sent("config", "config", named={"notifyEvents": True}),
        Sent("dial", "dial", ("+15550001", {"type": "phone", "number": "+15550003"}), {"call_hook": "/x"}),
        Sent("dub", "dub", ("addTrack", "music")),
        Sent("record", "record", ("start",), {"siprec_server_url": "sip:rec@127.0.0.1", "recording_id": "r1"}),
        Sent("record", "record", ("pause",)),
        Sent("record", "record", ("resume",)),
        Sent("record", "record", ("stop",)),
        Sent("sip:request", "sip_request", ("INFO",), {"content_type": "text/plain", "content": "hi"}),
        Sent("dtmf", "dtmf", ("5", 250)),
        Sent("boostAudioSignal", "boost", (0,)),
        Sent("redirect", "redirect", ([SAY], True)),
        Sent("redirect", "redirect_hook", ("/done",)),
        Sent("redirect", "redirect_parent", ({"verb": "pause", "length": 600},)),
        Sent("call:status", "hangup"),
    ],
    "dial": [
        Sent("mute:status", "mute", leg="B"),
        Sent("mute:status", "unmute", leg="B"),
        Sent("whisper", "whisper", (SAY,), leg="B"),
        Sent("boostAudioSignal", "boost", (6,), leg="B"),
        Sent("dub", "dub", ("addTrack", "music"), {"play": "https://x.example/a.wav"}, leg="B"),
        Sent("dtmf", "dtmf", ("1",), leg="B"),
        Sent("media:path", "media_path", ("partial-media",)),
        Sent("redirect", "redirect_hook", (None, "/done")),
    ],
    "conference": [
        Sent("mute:status", "mute"),
        Sent("conf:mute-status", "conference_mute"),
        Sent("conf:mute-status", "conference_unmute"),
        Sent("conf:hold-status", "conference_hold", ("/wait",)),
        Sent("conf:hold-status", "conference_unhold"),
        Sent("conf:participant-action", "participant", ("tag",), {"tag": "agent-7"}),
        Sent("conf:participant-action", "participant", ("coach",), {"tag": "agent-7"}),
        Sent("conf:participant-action", "participant", ("kick",)),
    ],
    "listen": [
        Sent("listen:status", "listen_pause"),
        Sent("listen:status", "listen_resume"),
        Sent("stream:status", "stream_pause"),
        Sent("stream:status", "stream_resume"),
        Sent("whisper", "whisper", (SAY,)),
    ],
    "transcribe": [Sent("transcribe:status", "transcribe_pause"), Sent("transcribe:status", "transcribe_resume")],
    "llm": [Sent("llm:update", "llm_update", (UPDATE,)), Sent("llm:tool-output", "tool_output", ("call_1", OUTPUT))],
    "tts": [
        Sent("tts:tokens", "tts_tokens", ("Hello. ",), {"token_id": 7}),
        Sent("tts:flush", "tts_flush"),
        Sent("tts:clear", "tts_clear"),
    ],
}


def test_no_command_of_the_open_source_line_is_left_out() -> None:
    """A new row of the table needs a row here."""
    sent = {row.command for rows in ROWS.values() for row in rows}
    assert sent == {fact.name for fact in COMMANDS.values() if not fact.is_commercial}


async def ready(call: LiveCall, stage: str) -> str:
    """Wait for the state; give the dialled leg."""
    await call.wait_for_verb("gather" if stage == "tts" else stage)
    if stage == "dial":
        await call.wait_for("the callee has answered", lambda it: it.core.session.child is not None)
        assert call.core.session.child is not None
        return call.core.session.child.call_sid
    if stage == "tts":
        await call.wait_for("the voice is connected", lambda it: it.core.session.tts.state == "open")
    return call.call_sid


@pytest.mark.parametrize("stage", ROWS)
async def test_commands_are_followed(cluster: ClusterFactory, stage: str) -> None:
    """Each reaches jambonz in a shape and a state that it accepts, addressed to the right leg."""
    running = await cluster(APP)
    async with live_call(f"{running.url}/commanding/{stage}", FAR_END, CallOptions(speed=20)) as call:
        other = await ready(call, stage)
        for count, row in enumerate(ROWS[stage], 1):
            leg = {"leg": other} if row.leg else {}
            call.start_hook(
                "/send", args={"method": row.method, "positional": row.positional, "named": row.named | leg}
            )
            await call.wait_for_command(row.command, count=sum(it.command == row.command for it in ROWS[stage][:count]))
            record = call.commands[count - 1]
            assert (record.command, record.verdict, record.reason) == (row.command, "accepted", "")
            assert record.call_sid == (other if row.leg else call.call_sid)
        if stage != "gather":
            call.hang_up()
        await call.wait_for_end()


async def test_a_call_that_rings_is_refused(cluster: ClusterFactory) -> None:
    """The other half of ``call:status``: an inbound call that nobody has answered."""
    running = await cluster(APP)
    async with live_call(f"{running.url}/commanding/ringing", FAR_END, CallOptions(speed=20)) as call:
        record = await call.wait_for_command("call:status")
        assert (record.data, record.verdict) == ({"call_status": "no-answer"}, "accepted")
        result = await call.wait_for_end()
        assert (result.outcome.kind, result.outcome.sip_status) == ("unanswered", 503)

"""The simulator says what the real client said in its recordings.

The recorded server speaks to a simulated call; the caller does what the recorded one must have
done. Every message of the simulated jambonz has to have the type, hook, envelope and data members
of the recorded one. A simulator that drifts from the real thing fails here first.
"""

from typing import Any

import pytest

from jambonz_simulator.core.script import Dial, ModelEvent, Script, SendHook, ToolCall, Wait
from jambonz_simulator.recording import RecordedFrame, Recording, load_recording
from tests.recordings import TRANSCRIPTS
from tests.unit.simulator.stage import Stage

# Hooks of verbs; all others were sent by the runner that made the recordings.
VERB_HOOKS = {"/menu", "/done"}

# In `session:new` the SIP stack of the recordings told other things than the documented ones.
TOLD_OTHERWISE = {"has_recording", "public_ip", "env_vars"}

SCRIPTS: dict[str, Script] = {
    "call-adulting": Script(dials=(Dial(ring_s=0.01, talk_s=None),)),
    "call-async": Script(),
    "call-conference": Script(),
    "call-config-events": Script(),
    "call-dial": Script(dials=(Dial(ring_s=0.01, talk_s=2),)),
    "call-happy": Script(),
    "call-handover": Script(),
    "call-listen": Script(),
    "call-llm": Script(
        model=(
            Wait(0.1),
            ToolCall("add", {"a": 40, "b": 2}, "call_1"),
            ModelEvent({"type": "response.done", "seq": 5, "response": {"status": "completed"}}),
        )
    ),
    "call-redirect-verb": Script(),
    "call-status-command": Script(),
    "call-tts-stream": Script(),
}


# Where a recording goes on with what the simulator cannot know: a second call beside the first one;
# the media double, which reported the end of a text and was killed all the same.
LINES = {"call-status-command": 5, "call-config-events": 24}


class Reenactment:
    """Leads a simulated call through a recording."""

    def __init__(self, recording: Recording, script: Script) -> None:
        self.stage = Stage(script)
        self.msgids: dict[str, str] = {}
        self.taken: set[str] = set()
        self.recording = recording

    def play(self) -> None:
        self.stage.start()
        for line in self.recording.frames[: LINES.get(self.recording.name)]:
            if "http" in line.frame or "close" in line.frame or self.is_beside_the_point(line):
                continue
            if line.is_from_jambonz:
                self.expect(line)
            else:
                self.say(line)

    def is_beside_the_point(self, line: RecordedFrame) -> bool:
        """The real model repeats its tool call as an event; a scripted one does not."""
        data = line.frame.get("data")
        return isinstance(data, dict) and data.get("seq") == 4

    def say(self, line: RecordedFrame) -> None:
        frame = dict(line.frame)
        if frame["type"] == "ack":
            frame["msgid"] = self.msgids[frame["msgid"]]
        self.stage.receive(frame, connection=line.connection)

    def expect(self, line: RecordedFrame) -> None:
        """Find the next message of this connection, helping it to come about."""
        for attempt in range(400):
            waiting = [f for n, f in self.stage.frames if n == line.connection and f["msgid"] not in self.taken]
            if waiting:
                assert_alike(waiting[0], line)
                self.msgids[line.frame["msgid"]] = waiting[0]["msgid"]
                self.taken.add(waiting[0]["msgid"])
                return
            if attempt == 0:
                self.help(line.frame)
            self.stage.advance(0.01)
        pytest.fail(f"line {line.index + 1}: the simulator never sent {line.frame['type']} {line.frame.get('hook')}")

    def help(self, frame: dict[str, Any]) -> None:
        """Do what the recorded caller or runner must have done to cause this message."""
        hook, data = frame.get("hook"), frame.get("data", {})
        digits = data.get("digits", data.get("dtmf"))
        if digits is not None:
            assert self.until_heard(digits), f"nobody listens to {digits!r}"
        elif frame["type"] == "verb:hook" and hook not in VERB_HOOKS:
            self.until_said()
            self.stage.do(SendHook(str(hook), {}, data.get("args")))
        elif data.get("call_termination_by") == "caller":
            self.stage.hang_up()

    def until_said(self) -> None:
        """The media double of the recordings spoke faster than people do."""
        while self.stage.verb == "say":
            self.stage.advance(0.01)

    def until_heard(self, digits: str) -> bool:
        for _ in range(400):
            if self.stage.call.session.ears.is_open:
                return self.stage.press(digits)
            self.stage.advance(0.01)
        return False


def assert_alike(frame: dict[str, Any], line: RecordedFrame) -> None:
    recorded = line.frame
    place = f"line {line.index + 1} of the recording"
    assert (frame["type"], frame.get("hook")) == (recorded["type"], recorded.get("hook")), place
    assert ("call_sid" in frame) == ("call_sid" in recorded), place
    missing = recorded["data"].keys() - frame["data"].keys() - TOLD_OTHERWISE
    assert not missing, f"{place}: {missing}"
    for key in ("call_status", "sip_status", "direction", "digits", "reason", "customerData", "args", "event_type"):
        if key in recorded["data"] and key != "customerData":
            assert frame["data"][key] == recorded["data"][key], f"{place}: {key}"


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_simulator_says_what_the_real_client_said(name: str) -> None:
    path = TRANSCRIPTS / f"{name}.jsonl"
    assert path.is_file(), f"{path} is missing: the shared folder has to stand beside the repository"
    Reenactment(load_recording(path), SCRIPTS[name]).play()

"""Commands in the shapes of PROTOCOL.md 3.1 to 3.3."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from jambonz_shared.errors import MessageTooBig
from jambonz_workers import commands

SAY = [{"verb": "say", "text": "psst"}]

# Frames that the real client accepted, from the recordings and PROTOCOL.md 3.2.
FRAMES: list[tuple[str, Callable[[], bytes], dict[str, Any]]] = [
    (
        "command",
        lambda: commands.command("boostAudioSignal", "+6 dB", leg="b"),
        {"command": "boostAudioSignal", "data": "+6 dB"},
    ),
    ("empty_object", lambda: commands.command("config", {}, leg="b"), {"command": "config", "data": {}}),
    ("flush", lambda: commands.command("tts:flush", leg="b"), {"command": "tts:flush"}),
    (
        "call_hook",
        lambda: commands.redirect_hook("/next", None, leg="b"),
        {"command": "redirect", "data": {"call_hook": "/next"}},
    ),
    (
        "both_hooks",
        lambda: commands.redirect_hook("/next", "/child", leg="b"),
        {"command": "redirect", "data": {"call_hook": "/next", "child_call_hook": "/child"}},
    ),
    (
        "hangup",
        lambda: commands.call_status("completed", leg="b"),
        {"command": "call:status", "data": {"call_status": "completed"}},
    ),
    ("mute", lambda: commands.mute("mute", leg="b"), {"command": "mute:status", "data": {"mute_status": "mute"}}),
    ("whisper", lambda: commands.whisper(SAY, leg="b"), {"command": "whisper", "data": {"whisper": SAY}}),
    (
        "dtmf",
        lambda: commands.dtmf("7", None, leg="b"),
        {"command": "dtmf", "data": {"dtmf": {"digit": "7"}}},
    ),
    (
        "dtmf_with_duration",
        lambda: commands.dtmf("#", 300, leg="b"),
        {"command": "dtmf", "data": {"dtmf": {"digit": "#", "duration": 300}}},
    ),
    (
        "record",
        lambda: commands.record("start", {"siprecServerURL": "sip:r@x", "type": None}, leg="b"),
        {"command": "record", "data": {"action": "startCallRecording", "siprecServerURL": "sip:r@x"}},
    ),
    (
        "listen",
        lambda: commands.flow("listen", "pause", leg="b"),
        {"command": "listen:status", "data": {"listen_status": "pause"}},
    ),
    (
        "sip_request",
        lambda: commands.sip_request("INFO", {"content": "hi", "headers": None}, leg="b"),
        {"command": "sip:request", "data": {"sip_request": {"method": "INFO", "content": "hi"}}},
    ),
    (
        "tool_output",
        lambda: commands.tool_output("t1", {"x": 1}, leg="b"),
        {"command": "llm:tool-output", "tool_call_id": "t1", "data": {"x": 1}},
    ),
    (
        "tool_output_without_data",
        lambda: commands.tool_output("t1", None, leg="b"),
        {"command": "llm:tool-output", "tool_call_id": "t1"},
    ),
    (
        "tokens",
        lambda: commands.tts_tokens("Hi ", 1, leg="b"),
        {"command": "tts:tokens", "data": {"id": 1, "tokens": "Hi "}},
    ),
    (
        "tokens_without_id",
        lambda: commands.tts_tokens("Hi ", None, leg="b"),
        {"command": "tts:tokens", "data": {"tokens": "Hi "}},
    ),
    (
        "short_whisper",
        lambda: commands.whisper([{"say": {"text": "psst"}}], leg="b"),
        {"command": "whisper", "data": {"whisper": [{"say": {"text": "psst"}}]}},
    ),
    (
        "parent",
        lambda: commands.redirect_parent(SAY, leg="b"),
        {"command": "redirect", "data": {"parent_call": SAY}},
    ),
    (
        "conference_hold",
        lambda: commands.conference("hold", "hold", "/wait", leg="b"),
        {"command": "conf:hold-status", "data": {"conf_hold_status": "hold", "wait_hook": "/wait"}},
    ),
    (
        "coach",
        lambda: commands.participant("coach", "agent-7", None, leg="b"),
        {"command": "conf:participant-action", "data": {"action": "coach", "tag": "agent-7"}},
    ),
    (
        "dial",
        lambda: commands.dial("+1", {"type": "phone", "number": "+2"}, {"call_hook": "/x"}, leg="b"),
        {"command": "dial", "data": {"from": "+1", "to": {"type": "phone", "number": "+2"}, "call_hook": "/x"}},
    ),
    (
        "dub",
        lambda: commands.dub("addTrack", "music", {"play": "a.wav", "loop": None}, leg="b"),
        {"command": "dub", "data": {"action": "addTrack", "track": "music", "play": "a.wav"}},
    ),
    # jambonz takes a plain 0 for missing data.
    ("no_boost", lambda: commands.boost(0, leg="b"), {"command": "boostAudioSignal", "data": "0dB"}),
    ("boost", lambda: commands.boost("-3dB", leg="b"), {"command": "boostAudioSignal", "data": "-3dB"}),
    ("loud", lambda: commands.boost("+6 dB", leg="b"), {"command": "boostAudioSignal", "data": "+6 dB"}),
    (
        "say_on_track",
        lambda: commands.dub("sayOnTrack", "t", {"say": "Hi"}, leg="b"),
        {"command": "dub", "data": {"action": "sayOnTrack", "track": "t", "say": "Hi"}},
    ),
    (
        "languages",
        lambda: commands.stt_reconfigure(iter(["en-US", "de-DE"]), leg="b"),  # type: ignore[arg-type]
        {"command": "stt:reconfigure", "data": {"languageHints": ["en-US", "de-DE"]}},
    ),
    ("media_path", lambda: commands.media_path("no-media", leg="b"), {"command": "media:path", "data": "no-media"}),
    (
        "agent_update",
        lambda: commands.agent_update("update_instructions", {"instructions": "Be brief"}, leg="b"),
        {"command": "agent:update", "data": {"type": "update_instructions", "instructions": "Be brief"}},
    ),
    (
        "noise_isolation",
        lambda: commands.noise_isolation("enable", {"level": 3, "model": None}, leg="b"),
        {"command": "noiseIsolation:status", "data": {"noise_isolation_status": "enable", "level": 3}},
    ),
]


@pytest.mark.parametrize(("build", "frame"), [it[1:] for it in FRAMES], ids=[it[0] for it in FRAMES])
def test_frames_have_the_shape_jambonz_reads(build: Callable[[], bytes], frame: dict[str, Any]) -> None:
    """``callSid`` is always there, ``queueCommand`` only where jambonz looks at it."""
    assert orjson.loads(build()) == {"type": "command", "callSid": "b", **frame}


@pytest.mark.parametrize("queue", [False, True])
def test_redirect_says_whether_it_queues(queue: bool) -> None:
    """PROTOCOL.md 3.3."""
    (frame,) = commands.redirect(SAY, leg="c1", queue=queue)
    assert orjson.loads(frame) == {
        "type": "command",
        "command": "redirect",
        "callSid": "c1",
        "queueCommand": queue,
        "data": SAY,
    }


def test_redirect_without_verbs_clears_the_call() -> None:
    """An empty list is an order, too (PROTOCOL.md 3.3)."""
    (frame,) = commands.redirect([], leg="c1")
    assert orjson.loads(frame)["data"] == []


def test_a_long_redirect_goes_on_in_appends() -> None:
    """The first part replaces, the others must not."""
    verbs = [{"verb": "say", "text": "x" * 10_000} for _ in range(5)]
    frames = [orjson.loads(frame) for frame in commands.redirect(verbs, leg="c1")]
    assert [frame["queueCommand"] for frame in frames] == [False, True, True]
    assert [verb for frame in frames for verb in frame["data"]] == verbs


@pytest.mark.parametrize("data", [None, 0, "", False], ids=["none", "zero", "empty_text", "false"])
def test_data_that_jambonz_takes_for_missing_is_refused(data: object) -> None:
    """It would answer with InvalidMessage and alert the account (pitfall 19)."""
    with pytest.raises(ValueError, match="needs data"):
        commands.command("boostAudioSignal", data, leg="c1")


@pytest.mark.parametrize(
    ("build", "text"),
    [
        pytest.param(lambda: commands.command("", {}, leg="c"), "needs a name", id="no_name"),
        pytest.param(
            lambda: commands.command("redirect", {"child_call": []}, leg="c"), "child of a dial", id="child_verbs"
        ),
        pytest.param(lambda: commands.redirect_hook(None, "", leg="c"), "needs a call_hook", id="no_hook"),
        pytest.param(lambda: commands.whisper([], leg="c"), "needs say or play", id="no_verbs"),
        pytest.param(
            lambda: commands.whisper([{"verb": "hangup"}], leg="c"), "needs say or play", id="whispered_hangup"
        ),
        pytest.param(lambda: commands.participant("sing", None, None, leg="c"), "got 'sing'", id="participant_action"),
        pytest.param(lambda: commands.participant("coach", None, None, leg="c"), "needs a tag", id="coach_nobody"),
        pytest.param(lambda: commands.dial("+1", {}, {}, leg="c"), "needs from_ and to", id="dial_nobody"),
        pytest.param(lambda: commands.dub("sing", "t", {}, leg="c"), "got 'sing'", id="dub_action"),
        pytest.param(lambda: commands.dub("addTrack", "", {}, leg="c"), "needs a track", id="dub_no_track"),
        pytest.param(lambda: commands.media_path("none", leg="c"), "got 'none'", id="no_such_path"),
        pytest.param(lambda: commands.agent_update("x", {}, leg="c"), "got 'x'", id="no_such_update"),
        pytest.param(lambda: commands.dtmf("12", None, leg="c"), "one digit", id="two_digits"),
        pytest.param(lambda: commands.dtmf("x", None, leg="c"), "one digit", id="no_digit"),
        pytest.param(lambda: commands.dial("+1", _any("+2"), {}, leg="c"), "needs from_ and to", id="dial_number"),
        pytest.param(lambda: commands.record("run", {}, leg="c"), "got 'run'", id="record_action"),  # type: ignore[arg-type]
        pytest.param(lambda: commands.tool_output("", {}, leg="c"), "tool_call_id", id="no_tool_call"),
        pytest.param(lambda: commands.tts_tokens("", 1, leg="c"), "needs text", id="no_text"),
        pytest.param(
            lambda: commands.tts_tokens("x" * 1001, 1, leg="c"), "characters at once, got 1001", id="long_text"
        ),
        pytest.param(
            lambda: commands.tts_tokens("😀" * 501, 1, leg="c"), "characters at once, got 1002", id="long_emojis"
        ),
        pytest.param(lambda: commands.noise_isolation(_any("on"), {}, leg="c"), "got 'on'", id="noise_isolation"),
        pytest.param(lambda: commands.sip_request("", {}, leg="c"), "needs a method", id="no_method"),
        pytest.param(lambda: commands.boost("loud", leg="c"), "got 'loud'", id="no_level"),
        pytest.param(lambda: commands.boost("6", leg="c"), "got '6'", id="level_without_unit"),
        pytest.param(lambda: commands.boost(float("nan"), leg="c"), "got nan", id="nan_level"),
        pytest.param(lambda: commands.boost(True, leg="c"), "got True", id="bool_level"),
        pytest.param(lambda: commands.record("start", {"type": "foo"}, leg="c"), "got 'foo'", id="record_kind"),
        pytest.param(lambda: commands.dub("playOnTrack", "t", {}, leg="c"), "needs play=", id="play_nothing"),
        pytest.param(
            lambda: commands.dub("sayOnTrack", "t", {"play": "a.wav"}, leg="c"), "needs say=", id="say_nothing"
        ),
    ],
)
def test_a_command_jambonz_would_ignore_is_refused(build: Callable[[], object], text: str) -> None:
    """It never says so itself (pitfall 18)."""
    with pytest.raises(ValueError, match=text):
        build()


@pytest.mark.parametrize(
    ("build", "text"),
    [
        pytest.param(lambda: commands.tts_tokens(_any(5), 1, leg="c"), "expects text, got int", id="tokens"),
        pytest.param(lambda: commands.dtmf(_any(1), None, leg="c"), "as text, such as '1', got int", id="digit"),
        pytest.param(
            lambda: commands.stt_reconfigure("en-US", leg="c"), r"such as \['en-US'\], got 'en-US'", id="language"
        ),
        pytest.param(lambda: commands.stt_reconfigure(_any([5]), leg="c"), r"got \[5\]", id="hint_is_no_text"),
    ],
)
def test_data_of_a_wrong_type_is_refused(build: Callable[[], object], text: str) -> None:
    """A text is a sequence of texts, too: it would be sent letter by letter."""
    with pytest.raises(TypeError, match=text):
        build()


def _any(value: Any) -> Any:
    """Return what a caller without type checks passes."""
    return value


def test_as_much_text_as_jambonz_takes_at_once_is_sent() -> None:
    """PROTOCOL.md 4.3."""
    assert orjson.loads(commands.tts_tokens("x" * 1000, None, leg="c"))["data"] == {"tokens": "x" * 1000}


def test_a_command_over_the_limit_is_an_error_with_both_numbers() -> None:
    """A feature server would close the websocket (pitfall 2)."""
    with pytest.raises(MessageTooBig) as caught:
        commands.command("llm:update", {"text": "x" * 24_000}, leg="c1")
    assert caught.value.size_bytes > caught.value.limit_bytes


def test_data_json_cannot_hold_names_the_command() -> None:
    """So that its author finds the line."""
    with pytest.raises(TypeError, match="command 'llm:update': "):
        commands.command("llm:update", {"x": {1}}, leg="c1")

"""The llm verb with its tools, and TTS token streaming (PROTOCOL.md 4 and 5)."""

from typing import Any

import pytest

from jambonz_simulator.core.script import ModelEvent, Script, ToolCall, Wait
from tests.unit.simulator.stage import GATHER, PAUSE, Stage, running

LLM: dict[str, Any] = {
    "verb": "llm",
    "vendor": "openai",
    "llmOptions": {},
    "toolHook": "/tool",
    "eventHook": "/event",
    "actionHook": "/done",
}
OPENAI_OUTPUT = {"type": "conversation.item.create", "item": {}}


def with_model(*steps: Any, ends: bool = False, **members: Any) -> Stage:
    return running([{**LLM, **members}, *PAUSE], Script(model=steps, model_ends=ends))


def test_model_waits_for_the_output_of_its_tool() -> None:
    """Section 5.1: no ack, no timeout; argument keys keep their case."""
    stage = with_model(ToolCall("find", {"orderNo": "A"}), ModelEvent({"type": "done"})).advance(60)
    call = stage.last("llm:tool-call")
    assert (call["hook"], call["data"]["args"]) == ("/tool", {"orderNo": "A"})
    assert stage.sent("llm:event") == []
    stage.command("llm:tool-output", OPENAI_OUTPUT, tool_call_id="call_1")
    assert stage.verdicts() == [("llm:tool-output", "accepted")]
    assert stage.last("llm:event")["data"] == {"type": "done"}


@pytest.mark.parametrize(
    ("vendor", "output"),
    [
        ("microsoft", OPENAI_OUTPUT),
        ("ultravox", {"type": "client_tool_result", "invocation_id": "1", "result": "x"}),
        ("elevenlabs", {"data": {"type": "client_tool_result"}}),
        ("deepgram", {"data": {"type": "FunctionCallResponse"}}),
        ("voiceagent", {"data": {"type": "FunctionCallResponse"}}),
        ("google", {"toolResponse": {"functionResponses": []}}),
    ],
)
def test_each_vendor_takes_its_own_shape_of_output(vendor: str, output: Any) -> None:
    """Section 5.1: anything else is dropped."""
    stage = with_model(ToolCall("find"), vendor=vendor)
    stage.command("llm:tool-output", {"result": "plain"}, tool_call_id="call_1")
    assert "not the shape" in stage.reason()
    stage.command("llm:tool-output", [1], tool_call_id="call_1")
    assert "not the shape" in stage.reason()
    stage.command("llm:tool-output", output, tool_call_id="call_1")
    assert stage.verdicts()[-1] == ("llm:tool-output", "accepted")


@pytest.mark.parametrize("tool_call_id", ["other", 7, None])
def test_output_of_no_waiting_call_is_dropped(tool_call_id: Any) -> None:
    stage = with_model(ToolCall("find")).command("llm:tool-output", OPENAI_OUTPUT, tool_call_id=tool_call_id)
    assert "no tool call" in stage.reason()


def test_output_without_data_is_dropped() -> None:
    assert with_model(ToolCall("find")).command("llm:tool-output").reason() == "no data"


def test_output_after_the_model_was_redirected_is_ignored() -> None:
    """Section 5.1."""
    stage = with_model(ToolCall("find")).command("redirect", PAUSE)
    stage.command("llm:tool-output", OPENAI_OUTPUT, tool_call_id="call_1")
    assert "no llm verb" in stage.reason()


@pytest.mark.parametrize(
    ("vendor", "data", "verdict"),
    [
        ("openai", {"type": "session.update"}, "accepted"),
        ("openai", {"type": "x"}, "ignored"),
        ("openai", [1], "ignored"),
        ("ultravox", {"type": "input_text_message"}, "accepted"),
        ("elevenlabs", {"type": "x"}, "ignored"),
        ("google", {"anything": 1}, "accepted"),
    ],
)
def test_each_vendor_takes_its_own_updates(vendor: str, data: Any, verdict: str) -> None:
    """Section 5.1."""
    assert with_model(vendor=vendor).command("llm:update", data).verdicts() == [("llm:update", verdict)]


def test_tools_without_a_hook_are_not_called_and_events_are_filtered() -> None:
    steps = (ToolCall("find"), ModelEvent({"type": "a"}), ModelEvent({"type": "b"}), Wait(1))
    stage = with_model(*steps, toolHook="", events=["b"]).advance(2)
    assert stage.sent("llm:tool-call") == []
    assert [frame["data"]["type"] for frame in stage.sent("llm:event")] == ["b"]


def test_events_without_a_hook_are_not_sent() -> None:
    assert with_model(ModelEvent({"type": "a"}), eventHook="").sent("llm:event") == []


def test_end_of_the_conversation_is_told_and_the_stack_goes_on() -> None:
    stage = with_model(ends=True)
    done = stage.last("verb:hook", "/done")
    assert done["data"]["completion_reason"] == "normal conversation end"
    assert stage.ack(done, []).verb == "pause"


def test_end_without_a_hook_goes_on() -> None:
    assert with_model(ends=True, actionHook="").verb == "pause"


@pytest.mark.parametrize("verbs", [None, [7]], ids=["late", "invalid"])
def test_llm_hook_without_a_usable_ack_ends_the_call(verbs: Any) -> None:
    """Section 2.8, pitfall 7."""
    stage = with_model(ends=True)
    if verbs is None:
        stage.advance(5)
    else:
        stage.ack(stage.last("verb:hook"), verbs)
    assert stage.advance(1).outcome == "completed"


def test_hook_of_a_killed_model_without_an_ack_ends_the_call() -> None:
    """tasks/llm: the exception leaves the loop of the session, whatever a redirect has brought."""
    stage = with_model().command("redirect", PAUSE).advance(4.9)
    assert stage.verb == "llm"
    assert stage.advance(1).outcome == "completed"


def test_killed_model_sends_its_hook_after_the_final_status() -> None:
    """Recording `call-llm`."""
    stage = with_model().hang_up()
    assert [frame["type"] for frame in stage.sent()][-2:] == ["call:status", "verb:hook"]


# Token streaming.


def streaming(**options: Any) -> Stage:
    stage = running([{"verb": "config", "ttsStream": {"enable": True}}, *PAUSE], **options).advance(0.1)
    assert stage.last("tts:streaming-event")["data"] == {"event_type": "stream_open"}
    return stage


def tokens(stage: Stage, text: Any, number: int = 1) -> dict[str, Any]:
    stage.command("tts:tokens", {"id": number, "tokens": text})
    return dict(stage.last("tts:tokens-result")["data"])


def spoken(stage: Stage) -> str:
    return "".join(stage.call.session.tts.spoken)


def test_tokens_before_the_stream_is_open_are_taken_and_spoken_then() -> None:
    """Section 4.3."""
    stage = running([{"verb": "config", "ttsStream": {"enable": True}}, *PAUSE])
    world_is_connecting = stage.call.session.tts.state == "connecting"
    assert world_is_connecting
    assert tokens(stage, "Hello. ") == {"id": 1, "status": "ok"}
    assert spoken(stage) == ""
    stage.advance(0.1)
    assert spoken(stage) == "Hello."


def test_sentences_are_spoken_at_once_and_words_after_a_second() -> None:
    """Section 4.3: the last word stays."""
    stage = streaming()
    tokens(stage, "Hello world. How are y")
    assert spoken(stage) == "Hello world."
    stage.advance(1)
    assert spoken(stage) == "Hello world. How are "
    assert stage.call.session.tts.size_chars == 1


def test_mark_behind_a_digit_ends_no_sentence() -> None:
    """Section 4.3."""
    stage = streaming()
    tokens(stage, "Version 3. is out")
    assert spoken(stage) == ""


def test_trailing_blank_lets_all_words_be_spoken() -> None:
    stage = streaming()
    tokens(stage, "one two ")
    assert spoken(stage.advance(1)) == "one two "


def test_single_word_waits_for_more() -> None:
    stage = streaming()
    tokens(stage, "one")
    assert spoken(stage.advance(10)) == ""


def test_full_buffer_rejects_and_pauses_once() -> None:
    """Section 4.3: high water 1000 characters."""
    stage = streaming()
    for number in range(4):
        assert tokens(stage, "x" * 250, number)["status"] == "ok"
    assert tokens(stage, "x", 5) == {"id": 5, "status": "failed", "reason": "full"}
    assert tokens(stage, "x", 6)["reason"] == "full"
    events = [frame["data"]["event_type"] for frame in stage.sent("tts:streaming-event")]
    assert events == ["stream_open", "stream_paused"]


def test_stream_resumes_when_a_spoken_chunk_leaves_200_characters() -> None:
    """Section 4.3."""
    stage = streaming()
    tokens(stage, "x" * 850 + " " + "y" * 149)
    assert tokens(stage, "z", 2)["reason"] == "full"
    stage.advance(1)
    assert stage.last("tts:streaming-event")["data"] == {"event_type": "stream_resumed"}


def test_chunk_that_leaves_more_than_200_characters_does_not_resume() -> None:
    stage = streaming()
    tokens(stage, "x" * 700 + " " + "y" * 299)
    tokens(stage, "z", 2)
    stage.advance(1)
    assert stage.last("tts:streaming-event")["data"] == {"event_type": "stream_paused"}


def test_token_over_1000_characters_is_always_full() -> None:
    """Pitfall 23."""
    assert tokens(streaming(), "x" * 1001)["reason"] == "full"


def test_flush_is_late_and_never_resumes() -> None:
    """Sections 4.3 and 4.4, pitfalls 22 and 24."""
    stage = streaming()
    tokens(stage, "x" * 999)
    tokens(stage, "yyy", 2)
    stage.command("tts:flush")
    assert spoken(stage) == ""
    assert len(spoken(stage.advance(1))) == 999
    assert stage.last("tts:streaming-event")["data"] == {"event_type": "stream_paused"}


def test_nudge_makes_a_flush_immediate() -> None:
    """Section 4.3: one more token right after the flush."""
    stage = streaming()
    tokens(stage, "Hello you")
    stage.command("tts:flush")
    assert tokens(stage, " ", 2) == {"id": 2, "status": "ok"}
    assert spoken(stage) == "Hello you"


def test_flush_of_an_empty_buffer_does_nothing() -> None:
    stage = streaming().command("tts:flush").advance(2)
    assert spoken(stage) == ""
    assert stage.verdicts()[-1] == ("tts:flush", "accepted")


def test_clear_drops_all_without_resuming() -> None:
    """Section 4.3."""
    stage = streaming()
    tokens(stage, "x" * 999)
    tokens(stage, "yyy", 2)
    stage.command("tts:clear")
    assert stage.call.session.tts.size_chars == 0
    assert stage.last("tts:streaming-event")["data"] == {"event_type": "stream_paused"}
    assert tokens(stage, "x" * 999, 3)["status"] == "ok"


def test_results_without_an_id_are_not_sent() -> None:
    """Section 4.2, pitfall 23."""
    stage = streaming().command("tts:tokens", {"tokens": "x"})
    assert stage.sent("tts:tokens-result") == []


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("", {"status": "failed", "reason": "missing tokens"}),
        (None, {"status": "failed", "reason": "missing tokens"}),
        (7, {}),
        ("  ", {"status": "ok"}),
    ],
    ids=["empty", "missing", "no_text", "blank"],
)
def test_odd_tokens_have_their_own_results(text: Any, result: dict[str, Any]) -> None:
    """Section 4.2."""
    assert tokens(streaming(), text) == {"id": 1, **result}


def test_switching_off_is_told_but_the_end_of_the_call_is_not() -> None:
    """Section 4.4, pitfall 25."""
    stage = streaming().command("config", {"ttsStream": {"enable": False}})
    assert stage.last("tts:streaming-event")["data"] == {"event_type": "stream_closed"}
    assert tokens(stage, "x") == {"id": 1}
    ended = streaming().hang_up().advance(1)
    assert ended.last("tts:streaming-event")["data"] == {"event_type": "stream_open"}


def test_switching_on_twice_is_one_stream() -> None:
    stage = streaming().command("config", {"ttsStream": {"enable": True}}).advance(1)
    assert len(stage.sent("tts:streaming-event")) == 1


def test_switching_off_before_the_vendor_answered_opens_nothing() -> None:
    stage = running([{"verb": "config", "ttsStream": {"enable": True}}, *PAUSE])
    stage.command("config", {"ttsStream": {"enable": False}}).advance(1)
    assert [frame["data"]["event_type"] for frame in stage.sent("tts:streaming-event")] == ["stream_closed"]


def test_vendor_that_refuses_is_told_by_results_alone() -> None:
    """Section 4.4: no event."""
    stage = running([{"verb": "config", "ttsStream": {"enable": True}, "synthesizer": {"vendor": "down"}}, *PAUSE])
    stage.advance(1)
    assert tokens(stage, "x") == {"id": 1, "status": "failed", "reason": "connection to down failed"}
    assert stage.sent("tts:streaming-event") == []


def test_refusal_of_a_vendor_after_switching_off_is_nothing() -> None:
    stage = running([{"verb": "config", "ttsStream": {"enable": True}, "synthesizer": {"vendor": "down"}}, *PAUSE])
    stage.command("config", {"ttsStream": {"enable": False}}).advance(1)
    assert stage.call.session.tts.state == "off"


def test_streaming_say_runs_until_killed() -> None:
    """Section 4.1."""
    stage = running([{"verb": "say", "stream": True}]).advance(1)
    assert tokens(stage, "Hi. ")["status"] == "ok"
    stage.command("redirect", GATHER)
    assert stage.last("tts:streaming-event")["data"] == {"event_type": "stream_closed"}


def test_streaming_say_of_a_vendor_that_refuses_goes_on() -> None:
    verb = {"verb": "say", "stream": True, "synthesizer": {"vendor": "down"}}
    assert running([verb, *PAUSE]).advance(1).verb == "pause"


def test_gather_interrupts_streamed_speech() -> None:
    """Section 4.4: the buffer is cleared already."""
    stage = running([{"verb": "config", "ttsStream": {"enable": True}}, *GATHER]).advance(0.1)
    tokens(stage, "one two three")
    stage.press("1")
    assert stage.last("tts:streaming-event")["data"] == {"event_type": "user_interruption"}
    assert stage.call.session.tts.size_chars == 0


def test_timer_of_the_buffer_after_switching_off_is_nothing() -> None:
    stage = streaming()
    tokens(stage, "one two")
    stage.call.session.tts.state = "off"
    assert spoken(stage.advance(1)) == ""

"""Events as handlers see them: facts as attributes, whatever jambonz has sent."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from jambonz_workers import App, Call, Event, events
from jambonz_workers.events import (
    CallStatus,
    ConferenceEvent,
    DialResult,
    GatherResult,
    JambonzError,
    MachineDetection,
    ModelEvent,
    ModelResult,
    PlayResult,
    QueueResult,
    QueueWait,
    ReferRequest,
    SessionEvent,
    SipResult,
    StreamingEvent,
    TokensResult,
    ToolCall,
    Transcription,
    TransferResult,
    VerbStatus,
)
from jambonz_workers.testing import AppClient

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "events.md"

SPEECH = {"alternatives": [{"transcript": "hello", "confidence": 0.9}], "is_final": True, "language_code": "en-US"}

# Messages of PROTOCOL.md 2.4 to 2.12 and 4.4, and what they say.
FACTS: list[tuple[type[Event], dict[str, Any], dict[str, Any]]] = [
    (
        SessionEvent,
        {
            "from": "+1",
            "to": "+2",
            "direction": "inbound",
            "caller_name": "Ada",
            "sip": {"headers": {"X-FooBar": "1"}},
            "env_vars": {"A": "1"},
            "parent_call_info": {"call_sid": "p"},
            "customerData": {"jobId": 7},
        },
        {
            "from_": "+1",
            "to": "+2",
            "direction": "inbound",
            "caller_name": "Ada",
            "sip_headers": {"X-FooBar": "1"},
            "env_vars": {"A": "1"},
            "parent": {"call_sid": "p"},
            "customer_data": {"jobId": 7},
            "verb_id": "",
        },
    ),
    (
        GatherResult,
        {"reason": "speechDetected", "speech": SPEECH, "verb_id": "menu-1", "customerdata": {"job_id": 7}},
        {
            "reason": "speechDetected",
            "digits": "",
            "transcript": "hello",
            "confidence": 0.9,
            "language": "en-US",
            "is_final": True,
            "is_timeout": False,
            "speech": SPEECH,
            "verb_id": "menu-1",
            "customer_data": {"job_id": 7},
        },
    ),
    (
        GatherResult,
        {"reason": "timeout"},
        {"is_timeout": True, "transcript": "", "confidence": None, "speech": {}, "is_final": True},
    ),
    (GatherResult, {"digits": "2", "speech": {"alternatives": []}}, {"digits": "2", "transcript": ""}),
    (GatherResult, {"speech": {"alternatives": {"0": {"transcript": "old"}, "1": {}}}}, {"transcript": "old"}),
    (
        Transcription,
        {"speech": {**SPEECH, "is_final": False}, "speech_event": {"type": "start"}, "translation": {"text": "hallo"}},
        {"is_final": False, "speech_event": {"type": "start"}, "translation": {"text": "hallo"}},
    ),
    (PlayResult, {"reason": "playCompleted", "playback_seconds": "3"}, {"reason": "playCompleted", "seconds": 3.0}),
    (PlayResult, {"playback_seconds": "soon"}, {"seconds": None}),
    (PlayResult, {"playback_seconds": True}, {"seconds": None}),
    (
        DialResult,
        {"dial_call_status": "completed", "dial_sip_status": 200, "dial_call_sid": "b"},
        {"status": "completed", "sip_status": 200, "dialled_call_sid": "b", "is_answered": True},
    ),
    (DialResult, {"dial_call_status": "busy"}, {"is_answered": False, "sip_status": None}),
    # dial:confirm let nobody through: declined by a verb, or the callee hung up instead of accepting.
    (DialResult, {"dial_call_status": "in-progress", "dial_sip_status": 200}, {"is_answered": False}),
    (DialResult, {"dial_call_status": "completed"}, {"is_answered": False}),
    (
        ReferRequest,
        {"refer_details": {"refer_to_user": "bob"}},
        {"refer_to": "bob", "details": {"refer_to_user": "bob"}},
    ),
    (QueueWait, {"queue_position": 1, "queue_size": 3, "queue_time": 12}, {"position": 1, "size": 3, "waited_s": 12}),
    (QueueResult, {"queue_result": "bridged", "queue_time": 5}, {"result": "bridged", "waited_s": 5}),
    (QueueResult, {"dequeue_result": "timeout"}, {"result": "timeout", "waited_s": None}),
    (
        ConferenceEvent,
        {"event": "join", "friendly_name": "room7", "members": 2, "duration": 4.5},
        {"event": "join", "name": "room7", "members": 2, "duration_s": 4.5},
    ),
    (
        MachineDetection,
        {"type": "amd_human_detected", "reason": "short greeting"},
        {"type": "amd_human_detected", "reason": "short greeting", "is_human": True},
    ),
    (
        CallStatus,
        {
            "call_status": "completed",
            "sip_status": 200,
            "duration": 42,
            "call_termination_by": "caller",
            "parent_call_sid": "a",
            "error": "late",
        },
        {
            "status": "completed",
            "is_final": True,
            "sip_status": 200,
            "duration_s": 42,
            "ended_by": "caller",
            "parent_call_sid": "a",
            "error": "late",
        },
    ),
    (VerbStatus, {"event": "finished", "name": "say", "id": "x"}, {"event": "finished", "verb": "say", "verb_id": "x"}),
    (VerbStatus, {"event": "start-playback", "verb": "play"}, {"verb": "play", "verb_id": ""}),
    (
        JambonzError,
        {"msg": "TTS error", "details": {"a": 1}, "id": "x"},
        {"message": "TTS error", "details": {"a": 1}, "verb_id": "x"},
    ),
    (
        ToolCall,
        {"tool_call_id": "t", "name": "find", "args": {"orderNo": "A"}},
        {"tool_call_id": "t", "name": "find", "arguments": {"orderNo": "A"}},
    ),
    (ToolCall, {"arguments": '{"a": 1}'}, {"arguments": {"a": 1}}),
    (ToolCall, {"arguments": "{"}, {"arguments": {}}),
    (
        ModelEvent,
        {"type": "turn_end", "transcript": "hi", "response": "hello", "interrupted": True},
        {"type": "turn_end", "transcript": "hi", "response": "hello", "is_interrupted": True},
    ),
    (
        ModelResult,
        {"completion_reason": "server error", "error": {"code": 1}},
        {"completion_reason": "server error", "error": {"code": 1}},
    ),
    (
        TransferResult,
        {"transfer_result": "bridged", "transfer_reason": "asked"},
        {"result": "bridged", "reason": "asked"},
    ),
    (TransferResult, {"final_referred_call_status": 200}, {"result": "", "reason": ""}),
    (SipResult, {"result": "success", "sip_status": 202}, {"result": "success", "sip_status": 202}),
    (
        TokensResult,
        {"id": 17, "status": "failed", "reason": "full"},
        {"token_id": 17, "is_taken": False, "reason": "full"},
    ),
    (StreamingEvent, {"event_type": "tts_spoken", "text": "Hello"}, {"type": "tts_spoken", "text": "Hello"}),
]


@pytest.mark.parametrize(
    ("cls", "data", "facts"), FACTS, ids=[f"{cls.__name__}-{i}" for i, (cls, *_) in enumerate(FACTS)]
)
def test_facts_are_attributes(cls: type[Event], data: dict[str, Any], facts: dict[str, Any]) -> None:
    """With the raw data always there."""
    event = Event("verb:hook", "c1", data, "/x", "m1", {"step": "2"}, 1, 2, 3, is_hook=True).seen_as(cls)
    assert {name: getattr(event, name) for name in facts} == facts
    assert event.data is data
    assert (event.kind, event.call_sid, event.hook, event.path_params) == ("verb:hook", "c1", "/x", {"step": "2"})


@pytest.mark.parametrize("name", events.__all__)
def test_no_fact_trusts_what_it_is_sent(name: str) -> None:
    """A caller or a vendor may send anything (P9): a property gives something, and never raises."""
    cls = getattr(events, name)
    properties = [it for it, value in inspect.getmembers(cls) if isinstance(value, property)]
    assert properties
    values: tuple[Any, ...] = (None, 7, "x", [], [{}], {"headers": 3}, {"alternatives": [5]}, True, 1e300)
    for junk in values:
        keys = re.findall(r'"([a-z_A-Z]+)"', inspect.getsource(inspect.getmodule(cls) or events))
        event = Event("x", "c1", dict.fromkeys(keys, junk)).seen_as(cls)
        for it in properties:
            getattr(event, it)


async def test_a_handler_gets_the_class_it_asks_for() -> None:
    """By the annotation of its second parameter; everything else is the plain event."""
    app, seen = App(), list[type]()

    @app.hook("/menu/{step}")
    async def menu(call: Call, event: GatherResult) -> object:
        seen.append(type(event))
        return {"verb": "say", "text": event.path_params["step"] + event.digits}

    @app.on("call:status")
    async def status(call: Call, event: "CallStatus") -> None:
        seen.append(type(event))

    @app.on("verb:status")
    async def anything(call: Call, event: Any) -> None:
        seen.append(type(event))

    @app.on("llm:event", concurrent=True)
    async def model(call: Call, event: ModelEvent) -> None:
        seen.append(type(event))

    @app.on("jambonz:error")
    async def optional(call: Call, event: object | None) -> None:
        seen.append(type(event))

    async with AppClient(app) as client:
        assert (await client.hook("/menu/3", digits="4")).verbs == [{"verb": "say", "text": "34"}]
        for kind in ("call:status", "verb:status", "llm:event", "jambonz:error"):
            await client.send(kind)
        await client.settle()
    # The concurrent one runs when it can.
    assert sorted(seen, key=str) == sorted([GatherResult, CallStatus, Event, ModelEvent, Event], key=str)


def test_the_reference_names_every_class_with_every_fact() -> None:
    """So that nothing is added without a word about it."""
    rows = re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", REFERENCE.read_text(), re.MULTILINE)
    named = {name: set(re.findall(r"`(\w+)`", facts)) for name, facts in rows}
    base = {it for it, value in vars(Event).items() if isinstance(value, property)}
    assert named == {
        name: {
            it
            for it, value in inspect.getmembers(getattr(events, name))
            if isinstance(value, property)
            and not it.startswith("_")
            and it not in base - set(vars(getattr(events, name)))
        }
        for name in events.__all__
    }


@pytest.mark.parametrize("text", ["Infinity", "-inf", "nan", "1e999"])
def test_a_number_that_is_none_is_absent(text: str) -> None:
    """A fact never raises."""
    data = {"sip_status": text, "queue_position": text, "members": text, "duration": text}
    event = Event("call:status", "c1", data)
    assert event.seen_as(CallStatus).sip_status is None
    assert event.seen_as(CallStatus).duration_s is None
    assert event.seen_as(QueueWait).position is None
    assert event.seen_as(ConferenceEvent).members is None

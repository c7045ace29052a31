"""Events with their facts as attributes, by what a handler is for. Pure. Source: PROTOCOL.md 2.4 to 2.12.

A handler that annotates its second parameter gets its event as that class: ``async def menu(call: Call, event:
GatherResult)``. ``data`` is always the whole of what jambonz sent. Absent texts are empty, absent numbers None.
"""

from jambonz_workers.events.calls import (
    CallStatus,
    DialResult,
    JambonzError,
    ReferRequest,
    SessionEvent,
    SipResult,
    TransferResult,
    VerbStatus,
)
from jambonz_workers.events.models import ModelEvent, ModelResult, ToolCall
from jambonz_workers.events.rooms import ConferenceEvent, QueueResult, QueueWait
from jambonz_workers.events.speech import (
    GatherResult,
    MachineDetection,
    PlayResult,
    StreamingEvent,
    TokensResult,
    Transcription,
)

__all__ = [
    "CallStatus",
    "ConferenceEvent",
    "DialResult",
    "GatherResult",
    "JambonzError",
    "MachineDetection",
    "ModelEvent",
    "ModelResult",
    "PlayResult",
    "QueueResult",
    "QueueWait",
    "ReferRequest",
    "SessionEvent",
    "SipResult",
    "StreamingEvent",
    "TokensResult",
    "ToolCall",
    "Transcription",
    "TransferResult",
    "VerbStatus",
]

"""Frames of the jambonz websocket as bytes: heads read without decoding the body, acks and commands built. Pure."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from jambonz_shared.errors import BadFrame, MessageTooBig
from jambonz_shared.kinds import FINAL_STATUSES

SUBPROTOCOL: Final = "ws.jambonz.org"
"""jambonz aborts the call when the server does not echo it (PROTOCOL.md 1.1)."""

# jambonz closes with 1009 above 24,576 bytes (PROTOCOL.md 1.1); we keep 576 bytes away from it.
MAX_MESSAGE_BYTES: Final = 24_000

# call_sid becomes part of a Redis key: braces would move it to another cluster slot, so only what
# jambonz's uuids and the SDKs' test ids are made of is taken. msgid is a short uuid (PROTOCOL.md 2.1).
_SID: Final = re.compile(r"[A-Za-z0-9_.:@-]{1,128}\Z")
_MSGID: Final = re.compile(r"[\x21-\x7e]{1,128}\Z")
_KIND: Final = re.compile(r"[\x21-\x7e]{1,64}\Z")

# The member order of ws-requestor.js: type, msgid, call_sid, hook, data; call info begins with call_sid
# (PROTOCOL.md 2.1; every frame of the recordings), and no space, as JSON.stringify writes it. A body that begins
# otherwise is decoded instead, as are the kinds whose meaning needs more of the body than the head: direction, status,
# the leg's parent. Nothing could match in a second way, so nothing is tried again (the last +), but for the second
# call_sid: it is nearly always the first, which is quicker compared than read.
_COMMON_HEAD: Final = re.compile(
    rb'\{"type":"(?!session:new"|call:status")([a-z:-]{1,64}+)","msgid":"([\x21\x23-\x5b\x5d-\x7e]{1,128}+)"'
    rb'(?:,"call_sid":"([A-Za-z0-9_.:@-]{1,128}+)")?+'
    rb'(?:,"hook":"[^"\\\x00-\x1f]*+")?+'
    rb',"data":\{"call_sid":"(\3|[A-Za-z0-9_.:@-]{1,128}+)"'
)

# Half of a surrogate pair in a JSON text without escaped backslashes: the first without the second, or the other way.
_HALF: Final = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    rb"|[c-fC-F][0-9a-fA-F]{2}(?<!\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))"
)


@dataclass(init=False, slots=True)
class Head:
    """What the gateway must know of a message; everything else stays untouched bytes.

    Attributes:
        kind: jambonz's ``type``.
        msgid: Identifies the message; acks carry it back.
        top_call_sid: The envelope's ``call_sid``; empty on adulting, redirect and moved-call sockets
            (PROTOCOL.md 2.1), and the parent's on messages of a B leg.
        data_call_sid: ``data.call_sid``, the call the message is about; empty where data has none.
        is_inbound: Only read for ``session:new``: the call came in from the network.
        is_final: Only read for ``call:status``: the leg ``data_call_sid`` is over.
    """

    kind: str
    msgid: str
    top_call_sid: str
    data_call_sid: str
    is_inbound: bool = False
    is_final: bool = False

    def __init__(
        self,
        kind: str,
        msgid: str,
        top_call_sid: str,
        data_call_sid: str,
        is_inbound: bool = False,
        is_final: bool = False,
    ) -> None:
        self.kind = kind
        self.msgid = msgid
        self.top_call_sid = top_call_sid
        self.data_call_sid = data_call_sid
        self.is_inbound = is_inbound
        self.is_final = is_final


def decode_json(text: bytes) -> Any:
    """Return what a JSON text of jambonz says; half of a surrogate pair comes out as U+FFFD.

    jambonz is JavaScript, which cuts texts between the halves, and writes one half as an escape (ECMA-262
    JSON.stringify): in what a recognizer or a model has heard, an emoji is enough. orjson takes such a text for broken.

    Raises:
        orjson.JSONDecodeError: If it is no JSON.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        # Nothing of it runs in Python for each escape: 1 MB of them, which anybody may send, would take 0.3 s.
        mended, halves = _HALF.subn(rb"\\ufffd", text.replace(rb"\\", rb"\u005c"))
        if not halves:
            raise
        return orjson.loads(mended)


def read_head(frame: bytes) -> Head:
    """Return the head of one jambonz message (UTF-8 JSON text).

    The usual layouts are read without decoding the body, so a syntax error behind the head is found by
    the worker, not here.

    Raises:
        BadFrame: If it is not a JSON object with a usable ``type`` and ``msgid``.
    """
    match = _COMMON_HEAD.match(frame)
    if match is None:
        return _decoded_head(frame)
    # With their types the compiler knows how to decode them; match.groups() has none.
    kind: bytes
    msgid: bytes
    top: bytes | None
    sid: bytes
    kind, msgid, top, sid = match.groups()
    call_sid = sid.decode()
    top_call_sid = call_sid if top == sid else top.decode() if top else ""
    return Head(kind.decode(), msgid.decode(), top_call_sid, call_sid)


def _decoded_head(frame: bytes) -> Head:
    try:
        message = decode_json(frame)
    except orjson.JSONDecodeError as error:
        raise BadFrame(f"expected a JSON object, got {len(frame)} bytes that are not JSON: {error.msg}") from None
    if not isinstance(message, dict):
        raise BadFrame(f"expected a JSON object, got a JSON {type(message).__name__}")
    kind, msgid = message.get("type"), message.get("msgid")
    if not isinstance(kind, str) or not _KIND.match(kind):
        raise BadFrame(f"expected a string member 'type' of 1 to 64 printable characters, got {_shown(kind)}")
    if not isinstance(msgid, str) or not _MSGID.match(msgid):
        raise BadFrame(f"expected a string member 'msgid' of 1 to 128 printable characters, got {_shown(msgid)}")
    data = message.get("data")
    facts: dict[str, Any] = data if isinstance(data, dict) else {}
    return Head(
        kind,
        msgid,
        _sid_in(message),
        _sid_in(facts),
        is_inbound=kind == "session:new" and facts.get("direction") == "inbound",
        is_final=kind == "call:status" and _is_final(facts.get("call_status")),
    )


def is_call_sid(text: str) -> bool:
    """Tell whether ``text`` can be a call_sid, and so part of a key."""
    return _SID.match(text) is not None


def _sid_in(member: dict[str, Any]) -> str:
    sid = member.get("call_sid")
    if sid is None or sid == "":
        return ""
    if not isinstance(sid, str) or not _SID.match(sid):
        raise BadFrame("expected 'call_sid' to be 1 to 128 letters, digits or one of _ . : @ -")
    return sid


def _is_final(call_status: object) -> bool:
    return isinstance(call_status, str) and call_status in FINAL_STATUSES


def _shown(value: object) -> str:
    """Return the type of a bad value, never the value: it may be a caller's data."""
    return "nothing" if value is None else f"a {type(value).__name__} that is not"


def trimmed(json: bytes) -> bytes:
    """Return what orjson has written in memory of its own size, to be kept.

    orjson gives back the buffer that it wrote into: 4 kB for a number, 32 kB for 3 kB (3.13, tracemalloc).
    """
    return b"%b" % json


def ack_frame(msgid: str, data: bytes = b"") -> bytes:
    """Return the ack of ``msgid``; ``data`` is JSON, or empty for an ack without data (PROTOCOL.md 2.3)."""
    if not data:
        return b'{"type":"ack","msgid":%b}' % orjson.dumps(msgid)
    return b'{"type":"ack","msgid":%b,"data":%b}' % (orjson.dumps(msgid), data)


def command_frame(
    command: str,
    data: bytes = b"",
    *,
    call_sid: str = "",
    queue: bool | None = None,
    tool_call_id: str = "",
) -> bytes:
    """Return a command as jambonz reads it (PROTOCOL.md 3.1).

    Args:
        command: jambonz's name, such as ``"redirect"``.
        data: JSON; empty leaves the member out (only tts:flush, tts:clear and llm:tool-output may).
        call_sid: The leg; goes out as ``callSid``, the only spelling jambonz reads (pitfall 12).
        queue: ``queueCommand``; ``None`` leaves it out.
        tool_call_id: Top-level member of llm:tool-output.
    """
    parts = [b'{"type":"command","command":', orjson.dumps(command)]
    if call_sid:
        parts += [b',"callSid":', orjson.dumps(call_sid)]
    if queue is not None:
        parts.append(b',"queueCommand":true' if queue else b',"queueCommand":false')
    if tool_call_id:
        parts += [b',"tool_call_id":', orjson.dumps(tool_call_id)]
    if data:
        parts += [b',"data":', data]
    parts.append(b"}")
    return b"".join(parts)


def redirect_frame(verbs: bytes, *, call_sid: str, queue: bool = False) -> bytes:
    """Return the command that makes ``verbs`` (a JSON array) the application, or appends them."""
    return command_frame("redirect", verbs, call_sid=call_sid, queue=queue)


def check_size(what: str, frame: bytes) -> bytes:
    """Return ``frame``.

    Raises:
        MessageTooBig: If it is over ``MAX_MESSAGE_BYTES``.
    """
    if len(frame) > MAX_MESSAGE_BYTES:
        raise MessageTooBig(what, len(frame), MAX_MESSAGE_BYTES)
    return frame


def split_verbs(verbs: Sequence[bytes]) -> list[bytes]:
    """Return JSON arrays of ``verbs`` (JSON objects) in order, each small enough for any frame we build.

    The first is for the ack or the redirect itself, the others for appends (``queueCommand`` true).
    An empty list gives ``[b"[]"]``.

    Raises:
        MessageTooBig: If one verb alone is too big.
    """
    limit = MAX_VERBS_BYTES
    arrays: list[list[bytes]] = [[]]
    size = 2
    for verb in verbs:
        if len(verb) + 2 > limit:
            raise MessageTooBig(f"verb {_verb_name(verb)}", len(verb) + 2 + _FRAME_ROOM, MAX_MESSAGE_BYTES)
        if arrays[-1] and size + len(verb) + 1 > limit:
            arrays.append([])
            size = 2
        arrays[-1].append(verb)
        size += len(verb) + 1
    return [_array(array) for array in arrays]


def _array(verbs: Iterable[bytes]) -> bytes:
    return b"[" + b",".join(verbs) + b"]"


def _verb_name(verb: bytes) -> str:
    name = orjson.loads(verb).get("verb")
    return repr(name) if isinstance(name, str) else "without a name"


# The most that a frame around a verb array can need: a redirect with the longest sid, msgid shorter.
_FRAME_ROOM: Final = len(redirect_frame(b"", call_sid="x" * 128, queue=False)) + len(b',"data":')

MAX_VERBS_BYTES: Final = MAX_MESSAGE_BYTES - _FRAME_ROOM
"""A JSON array of verbs up to this size fits into any frame we build."""

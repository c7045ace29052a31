"""What jambonz would ignore at this moment, as far as a call's own messages tell. Pure.

Source: PROTOCOL.md 2.10, 2.11, 3.2. jambonz ignores a command that comes at the wrong time without a word (pitfall
18). What is surely in vain is refused, where its author can see it. But no refusal may be wrong (ADR 0015): only what
there is no way back from counts. Whatever else jambonz told may have changed by the time a command arrives: that is a
doubt, and no more. Only messages of the first websocket count for it, which come in order.
"""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from jambonz_shared.envelope import Envelope
from jambonz_shared.errors import ClusterError
from jambonz_shared.kinds import DETACHED, FINAL_STATUSES
from jambonz_shared.wire import decode_json
from jambonz_workers.events.members import NOTHING, mapping_in, text_in

_BREAKS: Final = frozenset({"session:reconnect", DETACHED})

HEARD: Final = _BREAKS | {"call:status", "verb:status"}
"""Kinds that tell something; heard when they arrive, since a handler may be busy for long."""

ANSWERED: Final = "in-progress"
_SAYS_ANSWERED: Final = b'"in-progress"'
_UNANSWERED: Final = frozenset({"trying", "ringing", "early-media"})

_NEED_AN_ANSWERED_CALL: Final = frozenset({"hangup", "dtmf", "sip:request"})
_NEED_AN_UNANSWERED_CALL: Final = frozenset({"no-answer"})

_CONFERENCE: Final = frozenset({"conference"})
_LISTEN: Final = frozenset({"listen", "stream", "dial"})
_MODEL: Final = frozenset({"llm", "s2s"})
_NEED_A_VERB: Final[Mapping[str, frozenset[str]]] = {
    "mute:status": frozenset({"dial", "conference"}),
    "whisper": frozenset({"dial", "listen", "stream"}),
    "media:path": frozenset({"dial"}),
    "conf:mute-status": _CONFERENCE,
    "conf:hold-status": _CONFERENCE,
    "conf:participant-action": _CONFERENCE,
    "listen:status": _LISTEN,
    "stream:status": _LISTEN,
    "llm:tool-output": _MODEL,
    "llm:update": _MODEL,
}
# Of another verb, such as one of the commercial line, nobody knows what it takes.
_KNOWN_VERBS: Final = frozenset(
    {"say", "play", "gather", "pause", "dtmf", "listen", "stream", "transcribe", "dial", "conference", "enqueue"}
    | {"dequeue", "llm", "tag", "message", "alert", "answer", "sip:refer", "sip:request"}
)


class WrongState(ClusterError, RuntimeError):
    """jambonz would ignore the command, whatever happens until it arrives; nothing was sent.

    Attributes:
        command: jambonz's name of it; ``no-answer`` for that of ``call:status``.
        why: What the state is.
    """

    def __init__(self, call_sid: str, command: str, why: str) -> None:
        self.call_sid = call_sid
        self.command = command
        self.why = why
        super().__init__(
            f"call {call_sid!r}: jambonz would ignore {command!r}, since {why}; nothing was sent. "
            "call.command(...) sends it all the same"
        )


class WouldEndParent(ClusterError, RuntimeError):
    """The command would end the call that dialled this leg instead of the leg; nothing was sent.

    jambonz looks at the leg of some commands only (PROTOCOL.md 3.2), and ``call:status`` is none of them.

    Attributes:
        command: ``hangup`` or ``no-answer``.
        parent_call_sid: The call that it would end.
    """

    def __init__(self, call_sid: str, command: str, parent_call_sid: str) -> None:
        self.call_sid = call_sid
        self.command = command
        self.parent_call_sid = parent_call_sid
        super().__init__(
            f"call {call_sid!r} is a leg without a websocket of its own: {command!r} would end the call "
            f"{parent_call_sid!r} that dialled it; nothing was sent. To end the leg alone answer its dial:confirm with "
            "the verb hangup, or, once it is connected, send redirect_hook(child_call_hook=...) to the call that "
            "dialled it and answer that hook with the verb hangup; redirect(verbs) to that call ends the dial"
        )


class Phase:
    """What is known of a call at this moment. ``hear`` what arrives, ``change`` when verbs went out.

    Messages are kept as they are and read when a command asks, for there are many and commands are few.
    """

    __slots__ = ("_is_in_order", "_status", "_told_status", "_told_verb")

    def __init__(self, status: str = "") -> None:
        """Begin with the newest status that is known; of ``in-progress`` and the final ones there is no way back."""
        self._status = status if status == ANSWERED or status in FINAL_STATUSES else ""
        self._told_status = b""
        self._told_verb = b""
        self._is_in_order = True

    def hear(self, envelope: Envelope) -> None:
        """Take in an event of a kind ``HEARD``, when it arrives."""
        if envelope.epoch > 1 or envelope.kind in _BREAKS:
            # What jambonz kept during a gap comes in any order (pitfall 34), and what happened in it nobody knows.
            self._is_in_order = False
            self.change()
        if envelope.kind == "call:status":
            if not (self._status and _SAYS_ANSWERED in self._told_status):
                self._learn()
            self._told_status = envelope.body
        elif self._is_in_order and (b'"starting"' in envelope.body or b'"finished"' in envelope.body):
            # verb:status; its other shape tells what happens inside of a verb.
            self._told_verb = envelope.body

    def change(self) -> None:
        """Forget what verbs that went out may have changed, or what happened unseen."""
        # With every answered hook: usually there is nothing to forget.
        if self._told_status:
            self._learn()
            self._told_status = b""
        self._told_verb = b""

    @property
    def is_over(self) -> bool:
        """The call has had its final status."""
        self._learn()
        return self._status in FINAL_STATUSES

    def why_refused(self, command: str) -> str:
        """Return why jambonz will ignore a command, whatever comes; empty if it might follow it."""
        self._learn()
        if command in _NEED_AN_UNANSWERED_CALL and self._status == ANSWERED:
            return "the call is answered"
        return ""

    def why_doubted(self, command: str) -> str:
        """Return why jambonz would ignore a command, if all is still as it was told; empty if nothing says so."""
        newest = self._learn()
        is_unanswered = self._is_in_order and not self._status and newest in _UNANSWERED
        if command in _NEED_AN_ANSWERED_CALL and is_unanswered:
            return "the call is not answered"
        verbs = _NEED_A_VERB.get(command)
        told = data_in(self._told_verb)
        running = text_in(told, "name")
        if verbs and told.get("event") == "starting" and running in _KNOWN_VERBS - verbs:
            return f"the running verb is {running!r}"
        return ""

    def _learn(self) -> str:
        """Note what there is no way back from; return the newest status, empty if it is not known."""
        if not self._told_status:
            return ""
        newest = text_in(data_in(self._told_status), "call_status")
        if newest in FINAL_STATUSES or (newest == ANSWERED and not self._status):
            self._status = newest
        return newest


def data_in(body: bytes) -> Mapping[str, Any]:
    """Return the data of a message; none if it cannot be read."""
    try:
        message = decode_json(body) if body else {}
    except orjson.JSONDecodeError:
        return NOTHING
    return mapping_in(message, "data") if isinstance(message, dict) else NOTHING

"""The acks one Connection owes jambonz, and what is said at the deadline. Pure."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, assert_never

import orjson

from jambonz_gateway.effects import Count
from jambonz_gateway.holding import Stock
from jambonz_gateway.policy import NEVER
from jambonz_shared.kinds import Fallback, Kind
from jambonz_shared.paths import hook_paths
from jambonz_shared.wire import decode_json

# A worker's late answer comes within seconds; after that many newer lapses it is of no use to a caller.
_LAPSED_KEPT: Final = 64

_DECLINE_VERBS: Final = b'[{"verb":"hangup"}]'
# The wait hook comes again as soon as the answer has been played (PROTOCOL.md 2.8).
_WAIT_VERBS: Final = b'[{"verb":"pause","length":2}]'


@dataclass(init=False, slots=True)
class OwedAck:
    """A Hook that jambonz waits for.

    Attributes:
        msgid: Of the Hook.
        call_sid: The Call it is about; empty while that is unknown.
        kind: Its Kind.
        deadline_s: Monotonic time at which the fallback goes out.
        frame: The Hook as jambonz sent it; the fallback may depend on it.
    """

    msgid: str
    call_sid: str
    kind: Kind
    deadline_s: float
    frame: bytes

    def __init__(self, msgid: str, call_sid: str, kind: Kind, deadline_s: float, frame: bytes) -> None:
        self.msgid = msgid
        self.call_sid = call_sid
        self.kind = kind
        self.deadline_s = deadline_s
        self.frame = frame


class OwedAcks:
    """The owed acks of one Connection. Each is settled once: by a worker, at the deadline, or by the socket's end.

    Attributes:
        next_deadline_s: When ``due`` has something next; ``NEVER`` if nothing is owed.
    """

    __slots__ = ("_lapsed", "_newest_deadline_s", "_owed", "_stock", "next_deadline_s")

    def __init__(self, stock: Stock) -> None:
        """Owe nothing; ``stock`` counts the bytes of Hooks without an answer."""
        self._stock: Final = stock
        self._owed: dict[str, OwedAck] = {}
        # In the order of their lapse; what they are worth is nothing.
        self._lapsed: dict[str, None] = {}
        self._newest_deadline_s = -NEVER
        self.next_deadline_s = NEVER

    def __len__(self) -> int:
        return len(self._owed)

    def __contains__(self, msgid: str) -> bool:
        return msgid in self._owed

    @property
    def is_over(self) -> bool:
        """True while so much is unanswered that the oldest is due at once."""
        return self._stock.is_over

    def add(self, owed: OwedAck) -> None:
        """Note that jambonz waits for ``owed``, whose msgid is new; its deadline may be earlier than that of others."""
        self._stock.put(len(owed.frame))
        self._owed[owed.msgid] = owed
        if len(self._owed) > 1 and owed.deadline_s < self._newest_deadline_s:
            self._owed = dict(sorted(self._owed.items(), key=lambda item: item[1].deadline_s))
        self._newest_deadline_s = max(self._newest_deadline_s, owed.deadline_s)
        self.next_deadline_s = min(self.next_deadline_s, owed.deadline_s)

    def settle(self, msgid: str) -> OwedAck | None:
        """Return the owed ack and forget it; ``None`` if it is not owed (any more)."""
        owed = self._owed.pop(msgid, None)
        if owed is not None:
            self._stock.put(-len(owed.frame))
        self._look_ahead()
        return owed

    def was_late(self, msgid: str) -> bool:
        """Tell, once, whether the gateway has answered ``msgid`` by itself."""
        if msgid not in self._lapsed:
            return False
        del self._lapsed[msgid]
        return True

    def due(self, now_s: float) -> Iterator[OwedAck]:
        """Yield what must be answered now by the fallback; each counts as lapsed then.

        That is what has reached its deadline, and the oldest while too much is unanswered: jambonz sends few bytes of
        hooks that it waits for, and a flood of them must fill neither this process nor Redis.
        """
        while self._owed:
            owed = next(iter(self._owed.values()))
            if owed.deadline_s > now_s and not self._stock.is_over:
                return
            self.settle(owed.msgid)
            self._lapsed[owed.msgid] = None
            if len(self._lapsed) > _LAPSED_KEPT:
                del self._lapsed[next(iter(self._lapsed))]
            yield owed

    def clear(self) -> int:
        """Forget everything, because the socket is gone, and return how many acks died with it."""
        died = len(self._owed)
        for owed in self._owed.values():
            self._stock.put(-len(owed.frame))
        self._owed.clear()
        self._lapsed.clear()
        self.next_deadline_s = NEVER
        return died

    def _look_ahead(self) -> None:
        # They are kept in the order of their deadlines.
        self.next_deadline_s = next(iter(self._owed.values())).deadline_s if self._owed else NEVER


@dataclass(frozen=True, slots=True)
class Fallbacks:
    """What an app wants said when its workers do not answer; from its manifest.

    Attributes:
        start_verbs: For an inbound ``session:new``: JSON array, not empty (PROTOCOL.md 2.4).
        hooks: By hook path: JSON array of the verbs for that hook.
        patterns: The same for paths with variables; the first that matches counts.
        app: Name of the app, which may stand before the path of a whole URL.
    """

    start_verbs: bytes = b'[{"verb":"pause","length":1}]'
    hooks: Mapping[str, bytes] = field(default_factory=dict)
    patterns: tuple[tuple[re.Pattern[str], bytes], ...] = ()
    app: str = ""

    @classmethod
    def of(cls, hooks: Mapping[str, bytes], start_verbs: bytes = b"", app: str = "") -> "Fallbacks":
        """Return the wishes of an app by its hook paths, in which ``{name}`` stands for one segment."""
        exact = {path: verbs for path, verbs in hooks.items() if "{" not in path}
        patterns = tuple((path_pattern(path), verbs) for path, verbs in hooks.items() if "{" in path)
        return cls(start_verbs or cls().start_verbs, exact, patterns, app)

    def of_hook(self, hook: str) -> bytes | None:
        """Return the verbs for ``hook`` as jambonz echoes it: perhaps a whole URL (PROTOCOL.md 1.6)."""
        for path in hook_paths(hook, self.app):
            if (verbs := self.hooks.get(path)) is not None:
                return verbs
            for pattern, verbs in self.patterns:
                if pattern.match(path):
                    return verbs
        return None


def path_pattern(path: str) -> re.Pattern[str]:
    """Return a pattern for a path; ``{name}`` stands for one segment."""
    parts = re.split(r"\{[^/{}]+\}", path)
    return re.compile("[^/]+".join(re.escape(part) for part in parts) + r"\Z")


def fallback_count(owed: OwedAck) -> Count:
    """Return what is counted, and told, when nobody gave the ack."""
    try:
        hook = decode_json(owed.frame).get("hook", "")
    except orjson.JSONDecodeError:
        hook = ""
    return Count("fallback_ack", owed.kind.name, hook if isinstance(hook, str) else "")


def fallback_data(owed: OwedAck, fallbacks: Fallbacks) -> bytes:
    """Return the ``data`` of the ack nobody gave (JSON; empty = without data)."""
    try:
        message = decode_json(owed.frame)
    except orjson.JSONDecodeError:
        # Only the head was read when it came (wire.read_head).
        message = {}
    hook = message.get("hook")
    if isinstance(hook, str) and (data := fallbacks.of_hook(hook)) is not None:
        return data
    facts = message.get("data")
    match owed.kind.fallback:
        case Fallback.START:
            # An outbound call goes on waiting for a command after an ack without data (PROTOCOL.md 2.4).
            # A session:reconnect that inherited a session:new has its data, and so its direction (2.6.3).
            is_outbound = isinstance(facts, dict) and facts.get("direction") == "outbound"
            return b"" if is_outbound else fallbacks.start_verbs
        case Fallback.DECLINE:
            return _DECLINE_VERBS
        case Fallback.AT_ONCE:
            return b"[]"
        case Fallback.NO_DATA | Fallback.NONE:
            # A caller in a queue hears silence for the rest of the wait after an empty answer (pitfall 17).
            return _WAIT_VERBS if isinstance(facts, dict) and "queue_position" in facts else b""
        case _:
            assert_never(owed.kind.fallback)

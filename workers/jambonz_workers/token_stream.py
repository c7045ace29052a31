"""Flow control of streamed text: one token under way, full, paused, probed, interrupted. Pure.

The client's state machine of PROTOCOL.md 4.5. Time is seconds on any one clock. Inputs return what to do, in order.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

# jambonz buffers 1,000 characters and refuses a token that does not fit (PROTOCOL.md 4.3, pitfall 23); half of that
# always fits once the buffer has been drained to its low-water mark.
PIECE_CHARS: Final = 500
# The result of a token comes after the media server's answer, within milliseconds (PROTOCOL.md 4.5).
RESULT_S: Final = 5.0
# Results that jambonz queued while the websocket was down come after the ack of its reconnect (PROTOCOL.md 4.5).
RECONNECT_S: Final = 1.0
# So long new text waits for the fate of a token that crossed an interruption; its result takes milliseconds.
STRAY_S: Final = 0.5
_NO_STREAM: Final = "no stream is switched on: config with ttsStream, or say with stream, does it"
# ``stream_resumed`` is not sent after a flush, a clear or an interruption (pitfall 22); a paused stream is asked again.
PROBES_S: Final = (1.0, 2.0, 4.0, 5.0)

# What jambonz speaks without waiting for more (PROTOCOL.md 4.3); behind it there is nothing left to flush.
_SENTENCE_END: Final = re.compile(r"(?:(?<!\d)[.!?]\s|[\u3002\uff01\uff1f]|\n\s*\n)\s*\Z")
_TAIL_CHARS: Final = 16


@dataclass(frozen=True, slots=True)
class Offer:
    """Send ``tts:tokens``; its result carries the same ``token_id``."""

    token_id: int
    text: str


@dataclass(frozen=True, slots=True)
class Flush:
    """Send ``tts:flush``; with ``nudge`` a blank token behind it, which makes it immediate (PROTOCOL.md 4.3)."""

    nudge: bool


@dataclass(frozen=True, slots=True)
class Clear:
    """Send ``tts:clear``."""


class Why(Enum):
    """Why text was dropped."""

    INTERRUPTED = "the caller interrupted"
    CLEARED = "the stream was cleared"
    REFUSED = "jambonz refused it"
    SILENCE = "jambonz did not say whether it took it"
    CLOSED = "the stream was closed"


@dataclass(frozen=True, slots=True)
class Taken:
    """All text of a writing is in jambonz's buffer."""

    writing: "Writing"


@dataclass(frozen=True, slots=True)
class Dropped:
    """A writing has ended early; what is left in it was not spoken, as far as anybody can know.

    Attributes:
        reason: jambonz's own words for ``Why.REFUSED``, else empty.
    """

    writing: "Writing"
    why: Why
    reason: str = ""


Effect = Offer | Flush | Clear | Taken | Dropped


@dataclass(slots=True, eq=False)
class Writing:
    """The pieces of one written text that jambonz has not taken yet: token ids with their text."""

    pieces: deque[tuple[int, str]] = field(default_factory=deque)

    @property
    def unspoken(self) -> str:
        """What jambonz has not taken."""
        return "".join(text for _, text in self.pieces)


class _FlushMark:
    """A flush that waits for the text before it."""


class TokenStream:
    """The text stream of one call. One for the call's whole life here, so that token ids never come twice.

    Attributes:
        due_s: When to ``tick``; None while nothing is waited for.
    """

    def __init__(self) -> None:
        self.due_s: float | None = None
        self._next_id = 1
        self._queue: deque[Writing | _FlushMark] = deque()
        # The token whose result has not come; its writing may be withdrawn already.
        self._offered: int | None = None
        # It was under way when the caller interrupted: if jambonz has taken it since, it must not be spoken.
        self._is_stray = False
        self._is_paused = False
        self._is_resumed = False
        self._is_detached = False
        self._is_open = False
        self._has_flushed_early = False
        self._probes = 0
        self._tail = ""

    @property
    def is_paused(self) -> bool:
        """True while jambonz's buffer is full."""
        return self._is_paused

    def write(self, text: str, now_s: float) -> tuple[Writing, list[Effect]]:
        """Stream a text; ``Taken`` or ``Dropped`` tells of its end."""
        writing = Writing()
        for piece in pieces_of(text):
            writing.pieces.append((self._next_id, piece))
            self._next_id += 1
        self._has_flushed_early = False
        self._queue.append(writing)
        if self._is_paused and self._offered is None and self.due_s is None:
            # It was told to pause while nothing waited, so no probe is under way.
            self._wait_for_room(now_s)
        return writing, self._go_on(now_s)

    def withdraw(self, writing: Writing, now_s: float) -> list[Effect]:
        """Forget a writing that nobody waits for any more; a token under way cannot be called back."""
        if writing in self._queue:
            self._queue.remove(writing)
        return self._go_on(now_s)

    def flush(self, now_s: float) -> list[Effect]:
        """Have the rest spoken, once all text before it is taken."""
        self._queue.append(_FlushMark())
        return self._go_on(now_s)

    def clear(self) -> list[Effect]:
        """Drop all, here and in jambonz."""
        return [*self._stop(Why.CLEARED), Clear()]

    def result(self, token_id: object, status: object, reason: str, now_s: float) -> list[Effect]:
        """Take in a ``tts:tokens-result``."""
        self._is_detached = False
        if self._offered is None or token_id != self._offered:
            return []
        self._offered, self.due_s = None, None
        if self._is_stray:
            self._is_stray = False
            stray: list[Effect] = [Clear()] if status == "ok" else []
            return stray + self._go_on(now_s)
        if status == "ok":
            self._is_paused, self._probes = False, 0
            self._taken(token_id)
        elif reason == "full":
            if not self._is_resumed:
                self._is_paused = True
                self._wait_for_room(now_s)
        else:
            # Without a status there is no stream at all (PROTOCOL.md 4.2).
            return self._stop(Why.REFUSED, reason or _NO_STREAM)
        self._is_resumed = False
        return self._go_on(now_s)

    def event(self, event_type: object, now_s: float) -> list[Effect]:
        """Take in a ``tts:streaming-event``."""
        self._is_detached = False
        match event_type:
            case "stream_open":
                self._is_open = True
                # jambonz drops a flush before the vendor has connected (PROTOCOL.md 4.3).
                is_lost, self._has_flushed_early = self._has_flushed_early, False
                return [Flush(nudge=True)] if is_lost else self._go_on(now_s)
            case "stream_paused":
                self._is_paused = True
                if self._offered is None and self._queue:
                    self._wait_for_room(now_s)
            case "stream_resumed":
                self._is_paused, self._probes = False, 0
                if self._offered is None:
                    self.due_s = None
                else:
                    # The result "full" of before is still to come.
                    self._is_resumed = True
            case "user_interruption":
                return self._interrupt(now_s)
            case "stream_closed":
                self._is_open = False
                return self._stop(Why.CLOSED)
            case _:
                pass
        return self._go_on(now_s)

    def detached(self) -> None:
        """The call has no websocket; a result that is missing may still come."""
        self._is_detached = True
        self.due_s = None
        if self._is_stray:
            self._offered, self._is_stray = None, False

    def reconnected(self, now_s: float) -> list[Effect]:
        """The call has a websocket again."""
        self._is_detached = False
        if self._offered is not None:
            self.due_s = max(self.due_s or 0.0, now_s + RECONNECT_S)
            return []
        self._is_paused = False
        return self._go_on(now_s)

    def tick(self, now_s: float) -> list[Effect]:
        """Do what is due."""
        if self.due_s is None or now_s < self.due_s:
            return []
        self.due_s = None
        if self._is_stray:
            self._offered, self._is_stray = None, False
            return self._go_on(now_s)
        if self._offered is not None:
            # It may be in jambonz's buffer or not: to send it again could speak it twice (PROTOCOL.md 4.5).
            return self._stop(Why.SILENCE)
        return self._probe(now_s)

    def _go_on(self, now_s: float) -> list[Effect]:
        effects: list[Effect] = []
        while self._queue and self._offered is None and not self._is_paused and not self._is_detached:
            item = self._queue[0]
            if isinstance(item, Writing) and item.pieces:
                effects.append(self._offer(item, now_s))
            else:
                self._queue.popleft()
                effects.append(Taken(item) if isinstance(item, Writing) else self._flush_now())
        if not self._queue and self._offered is None:
            self.due_s = None
        return effects

    def _offer(self, writing: Writing, now_s: float) -> Offer:
        token_id, text = writing.pieces[0]
        self._offered, self.due_s = token_id, now_s + RESULT_S
        return Offer(token_id, text)

    def _flush_now(self) -> Flush:
        flush = Flush(nudge=bool(self._tail) and not _SENTENCE_END.search(self._tail))
        self._has_flushed_early = not self._is_open
        self._tail = ""
        return flush

    def _taken(self, token_id: int) -> None:
        head = self._queue[0] if self._queue else None
        if isinstance(head, Writing) and head.pieces and head.pieces[0][0] == token_id:
            _, text = head.pieces.popleft()
            self._tail = (self._tail + text)[-_TAIL_CHARS:]

    def _wait_for_room(self, now_s: float) -> None:
        self.due_s = now_s + PROBES_S[min(self._probes, len(PROBES_S) - 1)]
        self._probes += 1

    def _probe(self, now_s: float) -> list[Effect]:
        head = self._queue[0] if self._queue else None
        if isinstance(head, Writing) and head.pieces:
            return [self._offer(head, now_s)]
        # Nothing to ask with: a flush is taken in any state.
        self._is_paused = False
        return self._go_on(now_s)

    def _interrupt(self, now_s: float) -> list[Effect]:
        """Drop all. What was under way may reach jambonz after it cleared its buffer, so its fate is waited for."""
        under_way = self._offered
        effects = self._stop(Why.INTERRUPTED)
        if under_way is not None:
            self._offered, self._is_stray, self.due_s = under_way, True, now_s + STRAY_S
        return effects

    def _stop(self, why: Why, reason: str = "") -> list[Effect]:
        dropped = [Dropped(item, why, reason) for item in self._queue if isinstance(item, Writing)]
        self._queue.clear()
        self._offered, self.due_s = None, None
        self._is_paused, self._is_resumed, self._has_flushed_early = False, False, False
        self._is_stray = False
        self._probes, self._tail = 0, ""
        return [*dropped]


def pieces_of(text: str) -> Iterator[str]:
    """Yield ``text`` in pieces that jambonz's buffer can take, ``|`` left out.

    The media server takes ``|`` for a separator and cuts there (PROTOCOL.md 4.3). jambonz counts UTF-16 units.
    """
    text = text.replace("|", "")
    if len(text) * 2 <= PIECE_CHARS:
        if text:
            yield text
        return
    piece: list[str] = []
    size = 0
    for character in text:
        units = 2 if character > "\uffff" else 1
        if size + units > PIECE_CHARS:
            yield "".join(piece)
            piece, size = [], 0
        piece.append(character)
        size += units
    yield "".join(piece)

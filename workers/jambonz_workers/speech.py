"""Speaking while the text is still being written: streams tokens to jambonz with its flow control."""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Self, assert_never

from jambonz_shared import kinds
from jambonz_shared.errors import CallGone, ClusterError
from jambonz_shared.kinds import FINAL_STATUSES
from jambonz_workers import commands
from jambonz_workers.event import Event
from jambonz_workers.facts import status_of
from jambonz_workers.threads import running_loop
from jambonz_workers.token_stream import (
    Clear,
    Dropped,
    Effect,
    Flush,
    Offer,
    Taken,
    TokenStream,
    Why,
    Writing,
)

SendNow = Callable[[Sequence[bytes]], "asyncio.Future[Any]"]
"""Sends command frames at once, whatever handler runs; the future fails when the call is over or lost."""

OVERHEARD: Final = frozenset(
    {"tts:tokens-result", "tts:streaming-event", "call:status", "session:reconnect", kinds.DETACHED, kinds.ENDED}
)
"""Kinds that a running speech must hear at once, before their turn in the mailbox (ADR 0007)."""


class Interrupted(ClusterError):
    """The caller began to speak, or the stream was cleared: jambonz has dropped what it had not spoken.

    Attributes:
        unspoken: The rest of the text that was being written. What jambonz dropped of earlier text nobody knows.
    """

    def __init__(self, call_sid: str, unspoken: str) -> None:
        self.call_sid = call_sid
        self.unspoken = unspoken
        super().__init__(f"speech of call {call_sid!r} was interrupted; {len(unspoken)} characters were not spoken")


class SpeechFailed(ClusterError):
    """jambonz does not take text for this call: no stream is on, or its vendor cannot be reached.

    After ``silent`` the beginning of ``unspoken`` may have been spoken: a websocket was lost between the text and
    jambonz's word on it.

    Attributes:
        reason: jambonz's own words, or ours.
        unspoken: The rest of the text that was being written.
        silent: jambonz has said nothing about the first piece of ``unspoken``.
    """

    def __init__(self, call_sid: str, reason: str, unspoken: str, *, silent: bool = False) -> None:
        self.call_sid = call_sid
        self.reason = reason
        self.unspoken = unspoken
        self.silent = silent
        super().__init__(f"speech of call {call_sid!r} failed: {reason}; {len(unspoken)} characters are left")


class Speech:
    """One utterance, written piece by piece. Use as ``async with call.tts_stream() as speech``.

    At the end of the block the rest is flushed, unless an error leaves it. ``Interrupted`` ends the block without
    being raised further: ``is_interrupted`` tells. A second speech of the same call waits for the end of the first.
    Outside of its block it takes nothing: ``RuntimeError``.
    """

    __slots__ = ("_is_dirty", "_over", "_voice", "taken")

    def __init__(self, voice: "Voice") -> None:
        self._voice = voice
        self._over: Why | ClusterError | None = None
        self._is_dirty = False
        self.taken = ""

    @property
    def is_interrupted(self) -> bool:
        """True once the caller has spoken over it."""
        return self._over is Why.INTERRUPTED

    async def write(self, text: str) -> None:
        """Return when jambonz has taken all of ``text``; waits while jambonz's buffer is full.

        When cancelled, a part may have been taken; no more of it will be.

        Raises:
            TypeError: If it is no text.
            Interrupted: If the caller speaks, or spoke since the last write: nothing more is spoken.
            SpeechFailed: If jambonz does not take it.
            CallGone, CallLost: If the call is over, or another worker's.
        """
        if not isinstance(text, str):
            raise TypeError(f"speech.write() expects text, got {type(text).__name__}")
        self._raise_if_over(text)
        if text:
            self._is_dirty = True
            await self._voice.write(text)
            self.taken += text

    async def flush(self) -> None:
        """Have everything spoken now that jambonz still holds back, such as a last word without a full stop.

        Raises:
            Interrupted, SpeechFailed, CallGone, CallLost: As ``write``.
        """
        self._raise_if_over("")
        self._is_dirty = False
        self._voice.flush()

    async def clear(self) -> None:
        """Drop what is not spoken yet; writes under way elsewhere raise ``Interrupted``."""
        self._raise_if_over("")
        self._is_dirty = False
        self._voice.clear()

    def end(self, why: Why | ClusterError) -> None:
        """Take no more text."""
        self._over = self._over or why

    async def __aenter__(self) -> Self:
        await self._voice.begin(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            if error is None and self._over is None and self._is_dirty:
                self._voice.flush()
        finally:
            self._voice.leave(self)
        return isinstance(error, Interrupted) and error.call_sid == self._voice.call_sid and self.is_interrupted

    def _raise_if_over(self, text: str) -> None:
        if isinstance(self._over, Why):
            raise _error_of(self._voice.call_sid, self._over, "", text)
        if self._over is not None:
            raise self._over
        if not self._voice.is_turn_of(self):
            raise RuntimeError("a speech takes text inside of `async with call.tts_stream() as speech`, and only there")


class Voice:
    """The text stream of one call: its speeches one after the other, and the timers of its flow control."""

    def __init__(self, call_sid: str, send_now: SendNow) -> None:
        self.call_sid = call_sid
        self._send_now = send_now
        self._loop = running_loop("call.tts_stream()")
        self._stream = TokenStream()
        self._turn = asyncio.Lock()
        self._speech: Speech | None = None
        self._writers: dict[Writing, asyncio.Future[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._ended: ClusterError | None = None

    async def begin(self, speech: Speech) -> None:
        """Wait for the end of the speech before."""
        await self._turn.acquire()
        self._speech = speech
        if self._ended:
            speech.end(self._ended)

    def is_turn_of(self, speech: Speech) -> bool:
        """True from ``begin`` to ``leave``."""
        return self._speech is speech

    def leave(self, speech: Speech) -> None:
        """Let the next speech begin."""
        if self._speech is speech:
            self._speech = None
            self._turn.release()

    async def write(self, text: str) -> None:
        """Return when ``text`` is taken; see ``Speech.write``."""
        writing, effects = self._stream.write(text, self._loop.time())
        future = self._writers[writing] = self._loop.create_future()
        self._carry_out(effects)
        try:
            await future
        finally:
            if self._writers.pop(writing, None):
                self._carry_out(self._stream.withdraw(writing, self._loop.time()))

    def flush(self) -> None:
        """See ``Speech.flush``."""
        self._carry_out(self._stream.flush(self._loop.time()))

    def clear(self) -> None:
        """See ``Speech.clear``."""
        self._carry_out(self._stream.clear())

    def hear(self, event: Event) -> None:
        """Take in an event of one of the kinds ``OVERHEARD``."""
        data, now_s = event.data, self._loop.time()
        match event.kind:
            case "tts:tokens-result":
                reason = data.get("reason")
                given = reason if isinstance(reason, str) else ""
                self._carry_out(self._stream.result(data.get("id"), data.get("status"), given, now_s))
            case "tts:streaming-event":
                self._hear_event(data.get("event_type"), now_s)
            case "session:reconnect":
                self._carry_out(self._stream.reconnected(now_s))
            case kinds.DETACHED:
                self._stream.detached()
                self._carry_out([])
            case kinds.ENDED:
                self.stop(CallGone(self.call_sid))
            case "call:status" if status_of(event) in FINAL_STATUSES:
                self.stop(CallGone(self.call_sid))
            case _:
                pass

    def stop(self, error: ClusterError) -> None:
        """End the running speech: the call is over, or not ours any more."""
        self._ended = error
        if self._timer:
            self._timer.cancel()
        if self._speech:
            self._speech.end(error)
        writers, self._writers = self._writers, {}
        for future in writers.values():
            if not future.done():
                future.set_exception(error)

    def _hear_event(self, event_type: object, now_s: float) -> None:
        over = {"user_interruption": Why.INTERRUPTED, "stream_closed": Why.CLOSED}.get(str(event_type))
        if over and self._speech:
            self._speech.end(over)
        self._carry_out(self._stream.event(event_type, now_s))

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Offer(token_id, text):
                    self._post(commands.tts_tokens(text, token_id, leg=self.call_sid))
                case Flush(nudge):
                    self._post(commands.command("tts:flush", leg=self.call_sid))
                    if nudge:
                        # Without an id jambonz sends no result for it (PROTOCOL.md 4.2).
                        self._post(commands.tts_tokens(" ", None, leg=self.call_sid))
                case Clear():
                    self._post(commands.command("tts:clear", leg=self.call_sid))
                case Taken(writing):
                    self._settle(writing, None)
                case Dropped(writing, why, reason):
                    if self._speech and why not in (Why.CLEARED, Why.REFUSED, Why.SILENCE):
                        self._speech.end(why)
                    self._settle(writing, _error_of(self.call_sid, why, reason, writing.unspoken))
                case other:
                    assert_never(other)
        self._schedule()

    def _settle(self, writing: Writing, error: ClusterError | None) -> None:
        future = self._writers.pop(writing, None)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def _post(self, frame: bytes) -> None:
        try:
            self._send_now([frame]).add_done_callback(self._posted)
        except ClusterError as error:
            self.stop(error)

    def _posted(self, future: "asyncio.Future[Any]") -> None:
        error = None if future.cancelled() else future.exception()
        if isinstance(error, ClusterError):
            self.stop(error)

    def _schedule(self) -> None:
        if self._timer:
            self._timer.cancel()
        due_s = self._stream.due_s
        self._timer = None if due_s is None else self._loop.call_at(due_s, self._tick)

    def _tick(self) -> None:
        # The loop's timers may be early by its clock's resolution.
        now_s = max(self._loop.time(), self._stream.due_s or 0.0)
        self._carry_out(self._stream.tick(now_s))


def _error_of(call_sid: str, why: Why, reason: str, unspoken: str) -> Interrupted | SpeechFailed:
    if why in (Why.INTERRUPTED, Why.CLEARED):
        return Interrupted(call_sid, unspoken)
    return SpeechFailed(call_sid, reason or why.value, unspoken, silent=why is Why.SILENCE)

"""What is delivered and still in the call logs: deleted with others, at no wake-up of its own if it can be."""

import asyncio
from collections.abc import Callable
from typing import Final

# Nobody waits for a deletion. Should this process die in between, the next gateway sends the batch again: so soon
# that it was hardly written to the socket.
_LATER_S: Final = 0.002


class Deletions:
    """Gathers the seqs of delivered batches, per call.

    They go with the events that are written to Redis next, and only if none come for 2 ms by themselves. Never
    with those of the same loop tick: a frame that was sent in it may still wait for its socket, and a process that is
    killed between the two writes would have deleted what nobody has got.
    """

    def __init__(self, delete: Callable[[str, list[int]], None]) -> None:
        self._delete: Final = delete
        self._loop: Final = asyncio.get_running_loop()
        self._older: dict[str, list[int]] = {}
        self._newer: dict[str, list[int]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call_sid: str, seq: int) -> None:
        """Delete a batch of a call soon; those of one call in the order of their seqs."""
        if self._timer is None:
            self._timer = self._loop.call_later(_LATER_S, self.flush)
        seqs = self._newer.get(call_sid)
        if seqs is None:
            self._newer[call_sid] = [seq]
        else:
            seqs.append(seq)

    def has(self, call_sid: str) -> bool:
        """Tell whether something of a call is still to be deleted."""
        return call_sid in self._newer or call_sid in self._older

    def go_along(self) -> None:
        """Delete what had been delivered when this was called before; to be called when events are written anyway."""
        if self._timer is None:
            return
        self._timer.cancel()
        older, self._older, self._newer = self._older, self._newer, {}
        self._timer = self._loop.call_later(_LATER_S, self.flush) if self._older else None
        for call_sid, seqs in older.items():
            self._delete(call_sid, seqs)

    def flush(self) -> None:
        """Delete all of it now."""
        self.go_along()
        self.go_along()

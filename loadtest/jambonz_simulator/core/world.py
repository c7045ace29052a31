"""What all parts of one simulated call share: time, ids, effects, records. Pure."""

from collections.abc import Callable
from typing import Any

from jambonz_simulator.core.effects import Effect
from jambonz_simulator.core.frames import CommandFrame
from jambonz_simulator.core.ids import Ids
from jambonz_simulator.core.kernel import Kernel, Promise
from jambonz_simulator.core.records import CommandRecord, Ledger, Verdict, Who
from jambonz_simulator.core.timing import Timing


class World:
    """The surroundings of a call: one kernel, one ledger, one list of effects to carry out."""

    def __init__(self, ids: Ids, timing: Timing, speed: float, *, keeps_entries: bool) -> None:
        self.kernel = Kernel()
        self.ids = ids
        self.timing = timing
        self.ledger = Ledger(keeps_entries=keeps_entries)
        self.effects: list[Effect] = []
        self._speed = speed
        self._connections = 0
        self._conditions: list[tuple[Callable[[], bool], Promise[None]]] = []

    def next_connection(self) -> int:
        """Give the number of the next websocket."""
        self._connections += 1
        return self._connections

    def do(self, effect: Effect) -> None:
        """Have the shell do something once the current input is digested."""
        self.effects.append(effect)

    def passing(self, seconds: float) -> Promise[None]:
        """Wait while people or media take ``seconds``, shortened by the speed of the call."""
        return self.kernel.sleep(seconds / self._speed)

    def within_s(self, seconds: float) -> float:
        """Give ``seconds`` of people or media as seconds of this call's clock."""
        return seconds / self._speed

    def lived_s(self, seconds: float) -> float:
        """Give ``seconds`` of this call's clock as seconds of people or media."""
        return seconds * self._speed

    def entry(self, connection: int, who: Who, frame: dict[str, Any]) -> None:
        """Write a transcript line."""
        self.ledger.entry(self.kernel.now_s, connection, who, frame)

    def anomaly(self, connection: int, kind: str, detail: str) -> None:
        """Write down what a well-behaved server never causes."""
        self.ledger.anomaly(self.kernel.now_s, connection, kind, detail)

    def command(self, connection: int, frame: CommandFrame, verdict: Verdict, reason: str) -> None:
        """Write down a command and what jambonz makes of it."""
        record = CommandRecord(
            self.elapsed_s,
            connection,
            str(frame.command),
            frame.data,
            frame.call_sid,
            frame.queue_command,
            frame.tool_call_id,
            verdict,
            reason,
        )
        self.ledger.commands.append(record)

    def lost_command(self, connection: int, frame: CommandFrame) -> None:
        """Write down a command that came while no call session existed (PROTOCOL.md 2.4, pitfall 11)."""
        self.command(connection, frame, "lost", "the call session does not exist yet")
        self.anomaly(connection, "command_lost", str(frame.command))

    def until(self, condition: Callable[[], bool]) -> Promise[None]:
        """Wait until ``condition`` holds when all that is ready has run."""
        promise: Promise[None] = Promise(self.kernel)
        self._conditions.append((condition, promise))
        return promise

    def run(self, now_s: float) -> None:
        """Run all that is due at ``now_s``, and what waits for conditions that came true."""
        self.kernel.run(now_s)
        while any(condition() for condition, _ in self._conditions):
            waiting, self._conditions = self._conditions, []
            for condition, promise in waiting:
                if condition():
                    promise.settle(None)
                else:
                    self._conditions.append((condition, promise))
            self.kernel.run(now_s)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the call started."""
        return self.kernel.now_s - self.ledger.started_at_s

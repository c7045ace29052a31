"""What the caller presses and says, and who listens to it. Pure."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from jambonz_simulator.core.kernel import Promise
from jambonz_simulator.core.world import World

Input: TypeAlias = Literal["digits", "speech"]


@dataclass(frozen=True, slots=True)
class Heard:
    """Digits or speech of the caller; the other one is empty."""

    digits: str = ""
    text: str = ""
    confidence: float = 0.9

    @property
    def input(self) -> Input:
        """The name by which gather knows this kind of input."""
        return "digits" if self.digits else "speech"

    @property
    def barge_in_event(self) -> str:
        """The verb:status event that tells of it."""
        return "dtmf-bargein-detected" if self.digits else "speech-bargein-detected"

    @property
    def barge_in_details(self) -> dict[str, Any]:
        """More fields of that event."""
        return {"dtmf": self.digits, "duration": 800} if self.digits else {}

    def to_results(self) -> dict[str, Any]:
        """Give the fields of a gather's actionHook (PROTOCOL.md 2.8)."""
        if self.digits:
            return {"digits": self.digits, "reason": "dtmfDetected"}
        return {"speech": speech_of(self.text, self.confidence, is_final=True), "reason": "speechDetected"}


def speech_of(text: str, confidence: float, *, is_final: bool) -> dict[str, Any]:
    """Give the ``speech`` object of a recognizer."""
    return {
        "language_code": "en-US",
        "channel_tag": 1,
        "is_final": is_final,
        "alternatives": [{"transcript": text, "confidence": confidence}],
    }


class Ears:
    """Passes what the caller does to the one verb that listens."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._inputs: frozenset[str] = frozenset()
        self._next: Promise[Heard] = Promise(world.kernel)

    @property
    def is_open(self) -> bool:
        """True while a verb listens."""
        return bool(self._inputs)

    def open(self, inputs: frozenset[str]) -> None:
        """Listen to these kinds of input from now on."""
        self._inputs = inputs
        self._next = Promise(self._world.kernel)

    def close(self) -> None:
        """Stop to listen."""
        self._inputs = frozenset()

    def next(self) -> Promise[Heard]:
        """Give a promise for what the caller does next."""
        if self._next.is_settled:
            self._next = Promise(self._world.kernel)
        return self._next

    def hear(self, heard: Heard) -> bool:
        """Pass it on; false if no verb listens to this kind of input."""
        if heard.input not in self._inputs:
            return False
        self.next().settle(heard)
        return True

"""The gather verb: a prompt, digits, speech, time limits, its hooks. Pure."""

from dataclasses import dataclass
from math import inf
from typing import Any, Final

from jambonz_simulator.core.ears import Heard, speech_of
from jambonz_simulator.core.kernel import Promise, Steps
from jambonz_simulator.core.session import LastWords, Session, VerbEnd
from jambonz_simulator.core.tasks.media import playing
from jambonz_simulator.core.verbs import Verb, hook_path, number

# The verb's own default (tasks/gather.js, constructor); 0 waits for ever.
DEFAULT_TIMEOUT_S: Final = 15.0


@dataclass(slots=True)
class _Limits:
    """What ends a gather.

    Attributes:
        min_digits: So many do when the time is up; without it there is no limit between digits (_onDtmf, _startTimer).
    """

    timeout_s: float
    inter_digit_s: float
    num_digits: int
    min_digits: float
    finish_on_key: str

    def is_complete(self, digits: str) -> bool:
        """True if no further digit is awaited."""
        return len(digits) >= self.num_digits or (
            bool(self.finish_on_key) and digits[-1:] in self.finish_on_key and digits != ""
        )


def gather(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Collect speech or digits and tell the actionHook; a failed hook is reported (2.8)."""
    results = yield from _collect(session, verb)
    session.last_words = LastWords(lambda: results, if_failed=lambda: _report(session, verb))
    return "next"


def _report(session: Session, verb: Verb) -> VerbEnd:
    """What the app sees after a late or invalid ack (gather:1426-1446)."""
    error: dict[str, Any] = {"msg": "invalid actionHook response", "details": "late or invalid ack"}
    session.notice("jambonz:error", {**error, "verb": "gather", **_id_of(verb)})
    data = {**session.info.to_data(), "error": "invalid actionHook response", "reason": "late or invalid ack"}
    session.notifier.request("call:status", None, data, session.info.next_b3())
    return "next"


def _id_of(verb: Verb) -> dict[str, Any]:
    return {"id": verb["id"]} if "id" in verb else {}


def _collect(session: Session, verb: Verb) -> Steps[dict[str, Any]]:
    inputs = verb.get("input", ["digits"])
    session.ears.open(frozenset(i for i in inputs if isinstance(i, str)) if inputs else frozenset())
    try:
        first = yield from _prompt(session, verb)
        limits = _limits(verb)
        up: Promise[Any] = Promise(session.world.kernel)
        if limits.timeout_s:
            up = session.world.passing(limits.timeout_s)
        if first is None:
            first = yield session.world.kernel.first(session.ears.next(), up)
        if first is None:
            return {"reason": "timeout"}
        return (yield from _finish(session, verb, first, limits, up))
    finally:
        session.ears.close()


def _limits(verb: Verb) -> _Limits:
    most = verb.get("numDigits", verb.get("maxDigits"))
    return _Limits(
        timeout_s=number(verb.get("timeout"), DEFAULT_TIMEOUT_S),
        inter_digit_s=number(verb.get("interDigitTimeout"), 0.0),
        num_digits=int(number(most, 1_000_000.0)),
        min_digits=number(verb.get("minDigits"), inf),
        finish_on_key=str(verb.get("finishOnKey", "")),
    )


def _prompt(session: Session, verb: Verb) -> Steps[Heard | None]:
    """Play the nested say or play; digits always, speech only by ``bargein``, cut it short."""
    for name in ("say", "play"):
        nested = verb.get(name)
        if isinstance(nested, dict):
            end: Promise[None] = playing(session, {**nested, "verb": name})
            heard = yield session.world.kernel.first(end, session.ears.next())
            if isinstance(heard, Heard):
                return heard
    return None


def _finish(session: Session, verb: Verb, first: Heard, limits: _Limits, up: Promise[Any]) -> Steps[dict[str, Any]]:
    session.notify_playback(verb, first.barge_in_event, **first.barge_in_details)
    session.interrupt_speech()
    if first.input == "speech":
        _partial(session, verb, first)
        return first.to_results()
    digits = first.digits
    while not limits.is_complete(digits):
        if limits.inter_digit_s and len(digits) >= limits.min_digits:
            up = session.world.passing(limits.inter_digit_s)
        heard = yield session.world.kernel.first(session.ears.next(), up)
        if heard is None and len(digits) < limits.min_digits:
            return {"reason": "timeout"}
        if heard is None:
            break
        digits += heard.digits
    digits = digits[: limits.num_digits]
    if limits.finish_on_key and digits[-1:] in limits.finish_on_key:
        digits = digits[:-1]
    return {"digits": digits, "reason": "dtmfDetected"}


def _partial(session: Session, verb: Verb, heard: Heard) -> None:
    """The partial result hook wants an ack, but nobody waits for it (gather:1113)."""
    hook = hook_path(verb.get("partialResultHook"))
    if hook is not None:
        speech = speech_of(heard.text, heard.confidence, is_final=False)
        session.hook(hook, {"speech": speech}, verb)

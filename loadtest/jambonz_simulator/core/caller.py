"""The caller: plays the steps of a script, or does what a test asks for. Pure."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, assert_never

from jambonz_simulator.core.acks import Reply
from jambonz_simulator.core.ears import Heard
from jambonz_simulator.core.frames import KINDS_WITHOUT_ACK
from jambonz_simulator.core.kernel import TIMED_OUT, Promise, Steps
from jambonz_simulator.core.script import (
    DropSocket,
    HangUp,
    Press,
    SendHook,
    SendNotice,
    Speak,
    StaySilent,
    Step,
    Wait,
    WaitForVerb,
)

if TYPE_CHECKING:
    from jambonz_simulator.core.session import Session

# What a caller cannot do without the app.
STEPS_THAT_WAIT: Final = (Press, Speak, StaySilent, WaitForVerb, SendHook)


def play_script(session: "Session") -> Steps[None]:
    """Do the steps of the session's script one after the other, then lose patience."""
    ledger, steps = session.world.ledger, session.script.steps
    for number, step in enumerate(steps):
        ledger.steps_left = steps[number:]
        yield from do_step(session, step)
        # A gather that times out may end the call in the same instant; any other step had no app to be done with.
        if session.is_over and not isinstance(step, StaySilent):
            return
    ledger.steps_left = ()
    if session.script.patience_s is not None:
        yield session.world.passing(session.script.patience_s)
        hang_up(session)


def unfinished(session: "Session") -> list[str]:
    """Give the names of the steps that still waited for the app when it, and not the caller, ended the call."""
    ledger = session.world.ledger
    if ledger.has_hung_up:
        return []
    return [type(step).__name__ for step in ledger.steps_left if isinstance(step, STEPS_THAT_WAIT)]


def do_step(session: "Session", step: Step) -> Steps[None]:
    """Do one step; ends when it is done."""
    match step:
        case Press(digits, after_s):
            if (yield from wait_for(session, lambda: session.ears.is_open or session.barge_in is not None)):
                yield session.world.passing(after_s)
                press(session, digits)
        case Speak(text, confidence, after_s):
            if (yield from wait_for(session, lambda: session.ears.is_open or session.barge_in is not None)):
                yield session.world.passing(after_s)
                speak(session, text, confidence)
        case StaySilent():
            yield from wait_for(session, lambda: session.ears.is_open)
            yield from wait_for(session, lambda: not session.ears.is_open)
        case Wait(seconds):
            yield session.world.passing(seconds)
        case WaitForVerb(verb):
            yield from wait_for(session, lambda: session.current_name == verb)
        case HangUp():
            hang_up(session)
        case DropSocket(code):
            session.requestor.drop(code)
        case SendHook():
            yield send_hook(session, step)
        case SendNotice():
            send_notice(session, step)
        case _:
            assert_never(step)


def wait_for(session: "Session", condition: Callable[[], bool]) -> Steps[bool]:
    """Wait for the app; false if the caller's patience ends first: then the app has let the caller down."""
    world, patience_s = session.world, session.script.patience_s
    within_s = None if patience_s is None else world.within_s(patience_s)
    came = yield world.kernel.first(world.until(condition), within_s=within_s)
    if came is not TIMED_OUT:
        return True
    if not session.is_over:
        world.anomaly(0, "caller_gave_up", f"the caller waited {patience_s:g} s for the application")
        hang_up(session)
    return False


def press(session: "Session", digits: str) -> bool:
    """Press digits; false if nobody listens."""
    session.world.entry(0, "caller", {"presses": digits})
    return session.hear(Heard(digits=digits))


def speak(session: "Session", text: str, confidence: float) -> bool:
    """Say something; false if nobody listens."""
    session.world.entry(0, "caller", {"says": text})
    return session.hear(Heard(text=text, confidence=confidence))


def hang_up(session: "Session") -> None:
    """Hang up; before the answer this cancels an inbound call, and declines an outbound one (PROTOCOL.md 2.10)."""
    if session.is_over or session.is_cancelled:
        return
    session.world.entry(0, "caller", {"hangs": "up"})
    session.world.ledger.has_hung_up = True
    if session.is_answered:
        session.end("caller")
    elif session.info.direction == "outbound":
        session.rings_off.settle("declined")
    elif not session.has_begun:
        # session:new still waits for its ack: only then is there a session to be told (2.10).
        session.is_cancelled = True
    else:
        session.fail("no-answer", 487, "Request Terminated")


def send_hook(session: "Session", step: SendHook) -> Promise[Reply]:
    """Send a message that wants an ack, with the call info as the conformance runner does."""
    data: dict[str, Any] = {**session.info.to_data(), **step.data}
    if step.args is not None:
        data["args"] = dict(step.args)
    b3 = session.info.next_b3()
    return session.requestor.request(step.kind, step.hook, data, b3)


def send_notice(session: "Session", step: SendNotice) -> None:
    """Send a message that wants no ack.

    Raises:
        ValueError: If messages of this type want one.
    """
    if step.kind not in KINDS_WITHOUT_ACK:
        raise ValueError(f"{step.kind!r} wants an ack: send it as a hook")
    session.notice(step.kind, dict(step.data), step.hook)

"""What callers do in a load test: a path of loadtest/application.py and a script for each kind of call."""

from dataclasses import dataclass, replace
from typing import Final

from jambonz_simulator.core.script import (
    Dial,
    DropSocket,
    Expectations,
    HangUp,
    Press,
    Script,
    Speak,
    Wait,
    WaitForVerb,
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of call.

    Attributes:
        path: Where it goes on the server.
        hold_s: How long a call takes, about; live calls are calls per second times this.
    """

    path: str
    script: Script
    hold_s: float


def _script(name: str, *steps: object, expects: Expectations, **more: object) -> Script:
    return Script(name=name, steps=steps, patience_s=15, expects=expects, **more)  # type: ignore[arg-type]


def _completed(*says: str, hooks: tuple[str, ...] = ()) -> Expectations:
    return Expectations("completed", says, hooks)


def for_any_app(script: Script) -> Script:
    """Return the script without what only loadtest/application.py (and examples/ivr.py) says and asks."""
    return replace(script, expects=Expectations(script.expects.outcome))


SCENARIOS: Final = {
    # A menu: two choices, then goodbye. Four hooks.
    "ivr": Scenario(
        "/ivr",
        _script(
            "ivr",
            *(Press("1", after_s=3), Press("1", after_s=4), Press("9", after_s=3)),
            expects=_completed("Welcome", "Goodbye", hooks=("/menu",)),
        ),
        12.0,
    ),
    # A conversation: many short turns, each a hook.
    "voice-agent": Scenario(
        "/agent",
        _script(
            "voice-agent",
            # The caller listens to the last answer before hanging up.
            *(*(Speak(f"turn {n}", after_s=2) for n in range(8)), Wait(2), HangUp()),
            expects=_completed("How can I help you?", "That was your turn 8", hooks=("/turn",)),
        ),
        20.0,
    ),
    # A menu, then a call to an agent, with the hooks of both ends.
    "call-centre": Scenario(
        "/centre",
        _script(
            "call-centre",
            Press("2", after_s=3),
            dials=(Dial(ring_s=2, talk_s=8),),
            expects=_completed("Press 2 for an agent", hooks=("/menu", "/dialled")),
        ),
        15.0,
    ),
    # Every call loses its socket twice.
    "reconnect-storm": Scenario(
        "/ivr",
        _script(
            "reconnect-storm",
            *(WaitForVerb("gather"), DropSocket(), Wait(3), Press("1"), Wait(1), DropSocket(), Wait(3), Press("9")),
            expects=_completed("Welcome", "Goodbye", hooks=("/menu",)),
        ),
        12.0,
    ),
    # Callers who hang up at once: set-up and tear-down, nothing else.
    "churn": Scenario(
        "/ivr", _script("churn", Wait(0.2), WaitForVerb("gather"), HangUp(), expects=_completed("Welcome")), 0.3
    ),
}

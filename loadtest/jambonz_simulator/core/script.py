"""What the caller and the far ends do in a simulated call. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Direction: TypeAlias = Literal["inbound", "outbound"]
DialEnd: TypeAlias = Literal["answer", "busy", "no-answer", "failed"]


@dataclass(frozen=True, slots=True)
class Press:
    """Wait for a gather (or dial) that listens, then press ``digits`` after ``after_s``."""

    digits: str
    after_s: float = 0.5


@dataclass(frozen=True, slots=True)
class Speak:
    """Wait for a gather that listens, then say ``text``."""

    text: str
    confidence: float = 0.9
    after_s: float = 0.5


@dataclass(frozen=True, slots=True)
class StaySilent:
    """Wait for a gather and let it time out."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for ``seconds``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class WaitForVerb:
    """Wait until the app runs this verb."""

    verb: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """The caller hangs up."""


@dataclass(frozen=True, slots=True)
class DropSocket:
    """Lose the websocket with ``code``; 1006 is a cut cable, no close frame is sent."""

    code: int = 1006


@dataclass(frozen=True, slots=True)
class SendHook:
    """Send a hook that no verb asked for and wait for its fate; its verbs are not run."""

    hook: str
    data: Mapping[str, Any] = field(default_factory=dict)
    args: Mapping[str, Any] | None = None
    kind: str = "verb:hook"


@dataclass(frozen=True, slots=True)
class SendNotice:
    """Send a message that wants no ack, with exactly this data."""

    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)
    hook: str | None = None


Step: TypeAlias = Press | Speak | StaySilent | Wait | WaitForVerb | HangUp | DropSocket | SendHook | SendNotice


@dataclass(frozen=True, slots=True)
class Dial:
    """What happens to one leg that the app or the REST API dials.

    Attributes:
        ring_s: From ringing to the answer or failure.
        talk_s: From the answer to the callee's hang-up, whatever becomes of the caller once the leg has got a life of
            its own (``child_call_hook``); ``None``: stays until the caller leaves.
        digits: What the callee presses in a confirm session.
    """

    end: DialEnd = "answer"
    ring_s: float = 1.0
    talk_s: float | None = 5.0
    digits: str = "1"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model of an llm verb wants a tool; it waits for the output before going on."""

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)
    tool_call_id: str = "call_1"


@dataclass(frozen=True, slots=True)
class ModelEvent:
    """An event of the model, sent to the eventHook with snake-cased keys."""

    data: Mapping[str, Any]


ModelStep: TypeAlias = ToolCall | ModelEvent | Wait


@dataclass(frozen=True, slots=True)
class Expectations:
    """What must have happened by the end; what has not is an anomaly ``expectation_unmet``.

    Attributes:
        outcome: Kind of the outcome, ``None`` for any.
        says: Texts that the app must have said, each as a part of some say verb.
        hooks: Hooks that must have been acked in time.
    """

    outcome: str | None = None
    says: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    """One call: who calls whom, what the caller does step by step, how far ends behave.

    Attributes:
        env_vars: Application environment variables, carried by session:new.
        tag: Initial customerData (the ``tag`` of createCall).
        steps: What the caller does, one after the other, once the call is set up.
        patience_s: How long the caller waits for the app at each step, and stays after the last one
            (or, for ever, ``None``).
        answer: How an outbound call is answered.
        dials: Fates of the legs the app dials, in order; the last one repeats.
        model: What the model of an llm verb does, step by step.
        model_ends: Whether the model ends the conversation then, or waits for the caller.
        queue_s: How long an enqueued caller waits for an agent, ``None``: for ever.
        play_s: How long a played file lasts.
    """

    name: str = "by hand"
    direction: Direction = "inbound"
    from_number: str = "+14155550111"
    to_number: str = "+14155550100"
    caller_name: str = "Ada"
    env_vars: Mapping[str, Any] = field(default_factory=dict)
    tag: Mapping[str, Any] = field(default_factory=dict)
    sip_headers: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    patience_s: float | None = None
    answer: Dial = Dial()
    dials: tuple[Dial, ...] = (Dial(),)
    model: tuple[ModelStep, ...] = ()
    model_ends: bool = False
    queue_s: float | None = 10.0
    play_s: float = 2.0
    expects: Expectations = Expectations()

"""Whatever a server sends, in whatever order: the state machine holds."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from jambonz_simulator.core.commands import KNOWN_COMMANDS
from jambonz_simulator.core.script import Dial, ModelEvent, Script, ToolCall
from jambonz_simulator.core.verbs import ALIASES, REQUIRED_PROPERTIES
from tests.unit.simulator.stage import Stage

SCALARS = (
    st.none() | st.booleans() | st.integers(-5, 5000) | st.floats(0, 100) | st.sampled_from(["", "/h", "1", "x" * 40])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "url", "text"]), inner, max_size=3)
    ),
    max_leaves=5,
)
OPTIONAL = (
    "actionHook waitHook confirmHook statusHook dtmfHook text length timeout input numDigits loop ttsStream bargeIn "
    "say play id stream synthesizer finishOnKey notifyEvents"
)
PROPERTIES = sorted({name for names in REQUIRED_PROPERTIES.values() for name in names} | set(OPTIONAL.split()))
NAMES = st.sampled_from([*REQUIRED_PROPERTIES, *ALIASES, "nonsense"])


@st.composite
def verbs(draw: st.DrawFn) -> dict[str, Any]:
    name = draw(NAMES)
    required = {field: draw(VALUES) for field in REQUIRED_PROPERTIES.get(name, ())}
    extra = draw(st.dictionaries(st.sampled_from(PROPERTIES), VALUES, max_size=3))
    return {"verb": name, **required, **extra}


DATA = st.lists(verbs(), max_size=3) | VALUES
MEMBERS = ["call_hook", "child_call_hook", "call_status", "action", "whisper"]
ACTIONS = st.one_of(
    st.tuples(st.just("ack"), DATA),
    st.tuples(st.just("stray"), VALUES),
    st.tuples(st.just("command"), st.tuples(st.sampled_from(sorted(KNOWN_COMMANDS)), DATA, st.booleans())),
    st.tuples(st.just("data"), st.dictionaries(st.sampled_from(MEMBERS), VALUES, max_size=2)),
    st.tuples(st.just("raw"), st.binary(max_size=40) | st.just(b"x" * 30_000)),
    st.tuples(st.just("wait"), st.floats(0, 8)),
    st.tuples(st.just("close"), st.sampled_from([1000, 1001, 1006, 1012])),
    st.tuples(st.just("press"), st.sampled_from(["1", "12#"])),
    st.tuples(st.just("speak"), st.just("hello")),
    st.tuples(st.just("hang_up"), st.none()),
)


def act(stage: Stage, action: tuple[str, Any], acked: set[str]) -> None:
    connection = max((number for number, _ in stage.frames), default=1)
    match action:
        case ("ack", data):
            waiting = [f for _, f in stage.frames if f["type"] in HOOKS and f["msgid"] not in acked]
            if waiting:
                acked.add(waiting[0]["msgid"])
                stage.ack(waiting[0], data, connection)
        case ("stray", data):
            stage.receive({"type": "ack", "msgid": data}, connection=connection)
        case ("command", (command, data, queues)):
            stage.receive(
                {"type": "command", "command": command, "data": data, "queueCommand": queues}, connection=connection
            )
        case ("data", data):
            for command in ("redirect", "call:status", "whisper", "conf:participant-action"):
                stage.receive({"type": "command", "command": command, "data": data}, connection=connection)
        case ("raw", payload):
            stage.receive(payload, connection=connection)
        case ("wait", seconds):
            stage.advance(seconds)
        case ("close", code):
            stage.server_closes(code, connection)
        case ("press", digits):
            stage.press(digits)
        case ("speak", text):
            stage.speak(text)
        case _:
            stage.hang_up()


HOOKS = {"session:new", "session:reconnect", "session:redirect", "session:adulting", "verb:hook", "dial:confirm"}


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["inbound", "outbound"]),
    st.booleans(),
    st.lists(ACTIONS, max_size=25),
)
def test_no_server_breaks_the_state_machine(
    direction: Any, answers_close: bool, actions: list[tuple[str, Any]]
) -> None:
    """P9 turned round: every input is digested, msgids are unique, and the call ends when the caller leaves."""
    model = (ModelEvent({"type": "x"}), ToolCall("f"))
    stage = Stage(Script(direction=direction, dials=(Dial(ring_s=0.1, talk_s=None),), model=model))
    stage.answers_close = answers_close
    stage.start()
    acked: set[str] = set()
    for action in actions:
        act(stage, action, acked)
    stage.answers_close = True
    for number, _ in list(stage.closed):
        stage.server_closes(1006, number)
    stage.advance(60).hang_up().advance(60)
    assert stage.call.result is not None
    msgids = [frame["msgid"] for _, frame in stage.frames]
    assert len(msgids) == len(set(msgids))

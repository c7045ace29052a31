"""Scripts as JSON values: reading with clear errors. Pure."""

from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Final, TypeVar, get_args

from jambonz_simulator.core.frames import KINDS_WITHOUT_ACK
from jambonz_simulator.core.script import (
    Dial,
    DialEnd,
    Direction,
    DropSocket,
    Expectations,
    HangUp,
    ModelEvent,
    ModelStep,
    Press,
    Script,
    SendHook,
    SendNotice,
    Speak,
    StaySilent,
    Step,
    ToolCall,
    Wait,
    WaitForVerb,
)

T = TypeVar("T")

STEPS: Final[dict[str, type[Step]]] = {
    "press": Press,
    "speak": Speak,
    "stay_silent": StaySilent,
    "wait": Wait,
    "wait_for_verb": WaitForVerb,
    "hang_up": HangUp,
    "drop_socket": DropSocket,
    "send_hook": SendHook,
    "send_notice": SendNotice,
}
MODEL_STEPS: Final[dict[str, type[ModelStep]]] = {
    "tool_call": ToolCall,
    "event": ModelEvent,
    "wait": Wait,
}

_WORDS: Final = {"direction": get_args(Direction), "end": get_args(DialEnd)}


class ScriptError(ValueError):
    """A script cannot be used; the message lists every problem found."""


def read_script(value: Any, name: str) -> Script:
    """Read a script from its JSON value; every step is ``{"do": NAME, ...fields}``.

    Raises:
        ScriptError: If anything is unknown, missing or of the wrong type; all problems are listed.
    """
    problems: list[str] = []
    if not isinstance(value, dict):
        raise ScriptError(f"script {name!r}: expected an object, got {type(value).__name__}")
    members = dict(value)
    members.setdefault("name", name)
    members["steps"] = _steps(members.get("steps", []), "steps", STEPS, problems)
    members["model"] = _steps(members.get("model", []), "model", MODEL_STEPS, problems)
    dials = members.get("dials", [{}])
    if not isinstance(dials, list) or not dials:
        problems.append("dials: expected a list with at least one dial")
        dials = [{}]
    members["dials"] = tuple(_read(Dial, item, f"dials[{n}]", problems) for n, item in enumerate(dials))
    members["answer"] = _read(Dial, members.get("answer", {}), "answer", problems)
    members["expects"] = _read(Expectations, members.get("expects", {}), "expects", problems)
    script = _read(Script, members, "script", problems)
    if problems:
        raise ScriptError(f"script {name!r}: " + "; ".join(problems))
    assert script is not None
    return script


def _steps(value: Any, where: str, kinds: dict[str, Any], problems: list[str]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        problems.append(f"{where}: expected a list, got {type(value).__name__}")
        return ()
    steps = []
    for number, item in enumerate(value):
        place = f"{where}[{number}]"
        kind = kinds.get(str(item.get("do"))) if isinstance(item, dict) else None
        if kind is None:
            problems.append(f'{place}: expected "do" to be one of {", ".join(kinds)}')
            continue
        rest = {key: member for key, member in item.items() if key != "do"}
        steps.append(_read(kind, rest, place, problems))
    return tuple(steps)


def _read(kind: type[T], value: Any, where: str, problems: list[str]) -> T | None:
    assert is_dataclass(kind)
    if not isinstance(value, dict):
        problems.append(f"{where}: expected an object, got {type(value).__name__}")
        return None
    known = {field.name: field for field in fields(kind)}
    found = len(problems)
    problems += [f"{where}: unknown field {key!r}" for key in value if key not in known]
    for key, field in known.items():
        if key in value:
            problem = _problem(key, str(field.type), value[key])
            # The callee of a dial may press nothing; a caller who presses nothing would be heard to say nothing.
            if kind is Press and (key, value[key]) == ("digits", ""):
                problem = "expected at least one digit"
            if problem:
                problems.append(f"{where}.{key}: {problem}, got {value[key]!r}")
        elif field.default is MISSING and field.default_factory is MISSING:
            problems.append(f"{where}: {key!r} is missing")
    if kind is SendNotice and isinstance(value.get("kind"), str) and value["kind"] not in KINDS_WITHOUT_ACK:
        problems.append(f"{where}.kind: expected one of {', '.join(sorted(KINDS_WITHOUT_ACK))}, got {value['kind']!r}")
    if len(problems) > found:
        return None
    return kind(**{key: _frozen(key, member) for key, member in value.items()})


def _frozen(key: str, member: Any) -> Any:
    return tuple(member) if key in ("says", "hooks") else member


def _out_of_range(key: str, member: Any) -> str:
    if key == "seconds" or key.endswith("_s"):
        return "" if member >= 0 else "expected 0 or more seconds"
    return ""


def _problem(key: str, kind: str, member: Any) -> str:
    """Give what was expected of a field, ``""`` if it is that."""
    if key in _WORDS:
        return "" if member in _WORDS[key] else f"expected one of {', '.join(_WORDS[key])}"
    if member is None:
        return "" if "None" in kind else "expected a value"
    checks: list[tuple[str, type | tuple[type, ...], str]] = [
        ("float", (int, float), "expected a number"),
        ("int", int, "expected a whole number"),
        ("bool", bool, "expected true or false"),
        ("Mapping", dict, "expected an object"),
        ("tuple", (tuple, list), "expected a list"),
        ("str", str, "expected a text"),
    ]
    for word, types, expected in checks:
        if kind.startswith((word, f"collections.abc.{word}", f"<class '{word}'")):
            is_right = isinstance(member, types) and (word == "bool" or not isinstance(member, bool))
            return _out_of_range(key, member) if is_right else expected
    return ""

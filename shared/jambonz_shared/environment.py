"""Where the value of a setting comes from, and what is said when it is bad.

Order: command line, then environment, then default. A secret may lie in a file that ``<VARIABLE>_FILE`` names, as
container secrets do. ``load_settings`` never stops at the first problem: a start that fails lists them all.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeVar, get_args, get_origin, runtime_checkable

from annotated_types import Ge, Le
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from jambonz_shared.units import DURATION_EXPECTED, SIZE_EXPECTED, duration_text, size_text

PREFIX: Final = "JAMBONZ_CLUSTER_"

EXIT_BAD_SETTINGS: Final = 2
"""Exit code of a process that was started wrongly or with bad settings: trying again cannot help."""

# Names without our prefix that platforms already set. The prefixed name wins.
FOREIGN_VARIABLES: Final[Mapping[str, str]] = {"redis_url": "REDIS_URL"}

SECRET: Final[dict[str, Any]] = {"secret": True}


@dataclass(frozen=True, slots=True)
class Unit:
    """Marks the type of a field whose value is written with a unit."""

    name: Literal["duration", "size"]

    @property
    def expected(self) -> str:
        """What a message says was expected."""
        return DURATION_EXPECTED if self.name == "duration" else SIZE_EXPECTED

    def text(self, value: float) -> str:
        """Return a value as a person would write it."""
        return duration_text(value) if self.name == "duration" else size_text(int(value))


@dataclass(frozen=True, slots=True)
class BadSetting:
    """One setting that cannot be used.

    Attributes:
        name: The variable or flag that has to be changed, ``"JAMBONZ_CLUSTER_PORT"`` or ``"--port"``.
        value: What it holds; None if it is a secret.
        expected: What it should hold.
    """

    name: str
    value: str | None
    expected: str

    def __str__(self) -> str:
        shown = "(secret)" if self.value is None else repr(self.value)
        return f"{self.name}={shown}: expected {self.expected}"


class BadSettings(ValueError):
    """Settings with which no process can start; ``problems`` holds every one of them."""

    def __init__(self, problems: Sequence[BadSetting]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, problems)))


@runtime_checkable
class Checked(Protocol):
    """Settings that can contradict each other."""

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield a field's name and what was expected of it, for each one that does not fit the others."""
        ...


@dataclass(frozen=True, slots=True)
class _Given:
    """A value somebody gave: ``origin`` is the variable or flag."""

    origin: str
    value: object


_S = TypeVar("_S", bound=BaseModel)


def variable_of(name: str) -> str:
    """Return the environment variable of a field: ``ack_deadline_s`` is ``JAMBONZ_CLUSTER_ACK_DEADLINE``."""
    return PREFIX + name.removesuffix("_s").upper()


def flag_of(name: str) -> str:
    """Return the command line flag of a field: ``internal_port`` is ``--internal-port``."""
    return "--" + name.removesuffix("_s").replace("_", "-")


def is_secret(field: FieldInfo) -> bool:
    """Tell whether a field's value must never be shown."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and bool(extra.get("secret"))


def may_be_file(model: type[BaseModel], name: str) -> bool:
    """Tell whether ``<VARIABLE>_FILE`` may name a file that holds the value; not if that is a setting of its own."""
    return is_secret(model.model_fields[name]) and f"{name}_file" not in model.model_fields


def unit_of(field: FieldInfo) -> Unit | None:
    """Return the unit that values of a field are written with."""
    return next((mark for mark in field.metadata if isinstance(mark, Unit)), None)


def text_of(field: FieldInfo, value: object) -> str:
    """Return a value of a field as a person would write it."""
    unit = unit_of(field)
    return unit.text(value) if unit and isinstance(value, int | float) else str(value)


def load_settings(
    model: type[_S], flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> _S:
    """Return the settings given by flags, environment and defaults, in this order.

    A flag that is None was not given. An empty variable counts as not set, since compose files write those.

    Raises:
        BadSettings: If any value is unusable; it names every one.
    """
    given, problems = _read_environment(model, os.environ if environ is None else environ)
    for name, value in (flags or {}).items():
        if value is not None:
            given[name] = _Given(flag_of(name), value)
    try:
        settings = model.model_validate({name: one.value for name, one in given.items()})
    except ValidationError as error:
        raise BadSettings(problems + list(_invalid(model, given, error))) from None
    problems += _contradicting(settings, given)
    if problems:
        raise BadSettings(problems)
    return settings


def origins(
    model: type[BaseModel], flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the flag or variable that each setting comes from; those that are not there have their default."""
    given, _ = _read_environment(model, os.environ if environ is None else environ)
    named = {name: one.origin for name, one in given.items()}
    return named | {name: flag_of(name) for name, value in (flags or {}).items() if value is not None}


def unknown_variables(models: Sequence[type[BaseModel]], environ: Mapping[str, str]) -> list[str]:
    """Return the variables with our prefix that are no setting of any of the models: misspelt, most likely."""
    known = set()
    for model in models:
        for name in model.model_fields:
            known |= {variable_of(name)} | ({f"{variable_of(name)}_FILE"} if may_be_file(model, name) else set())
    return sorted(name for name in environ if name.startswith(PREFIX) and name not in known)


def expected_of(field: FieldInfo) -> str:
    """Return what a value of this field has to be, ``"a whole number, 1 to 65535"``."""
    unit = unit_of(field)
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    if choices:
        return f"one of {', '.join(map(str, choices))}"
    if unit is not None:
        return unit.expected + _range_text(field, unit)
    if field.annotation is int:
        return "a whole number" + _range_text(field, None)
    extra = field.json_schema_extra
    return str(extra["expected"]) if isinstance(extra, dict) and "expected" in extra else "a text"


def _range_text(field: FieldInfo, unit: Unit | None) -> str:
    least = next((mark.ge for mark in field.metadata if isinstance(mark, Ge)), None)
    most = next((mark.le for mark in field.metadata if isinstance(mark, Le)), None)
    low, high = (_bound_text(bound, unit) for bound in (least, most))
    if low and high:
        return f", {low} to {high}"
    return f", {low} or more" if low else ""


def _bound_text(bound: Any, unit: Unit | None) -> str:
    if bound is None:
        return ""
    return unit.text(bound) if unit else str(bound)


def _read_environment(model: type[BaseModel], environ: Mapping[str, str]) -> tuple[dict[str, _Given], list[BadSetting]]:
    given: dict[str, _Given] = {}
    problems: list[BadSetting] = []
    for name in model.model_fields:
        candidates = [variable_of(name)] + ([FOREIGN_VARIABLES[name]] if name in FOREIGN_VARIABLES else [])
        for variable in candidates:
            found = _read_variable(variable, environ, may_be_file=may_be_file(model, name))
            if isinstance(found, BadSetting):
                problems.append(found)
            elif found is not None:
                given[name] = found
                break
    return given, problems


def _read_variable(variable: str, environ: Mapping[str, str], *, may_be_file: bool) -> _Given | BadSetting | None:
    value = environ.get(variable, "")
    file_variable = f"{variable}_FILE"
    path = environ.get(file_variable, "") if may_be_file else ""
    if value and path:
        return BadSetting(file_variable, path, f"to be absent, since {variable} is set too")
    if path:
        try:
            return _Given(file_variable, Path(path).read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError):
            return BadSetting(file_variable, path, "a file that can be read")
    return _Given(variable, value) if value else None


def _invalid(model: type[BaseModel], given: Mapping[str, _Given], error: ValidationError) -> Iterator[BadSetting]:
    for name in dict.fromkeys(str(detail["loc"][0]) for detail in error.errors()):
        yield _bad(name, model.model_fields[name], given.get(name), None)


def _contradicting(settings: BaseModel, given: Mapping[str, _Given]) -> Iterator[BadSetting]:
    fields = type(settings).model_fields
    for name, expected in settings.contradictions() if isinstance(settings, Checked) else ():
        yield _bad(name, fields[name], given.get(name), expected, getattr(settings, name))


def _bad(name: str, field: FieldInfo, given: _Given | None, expected: str | None, current: object = None) -> BadSetting:
    value = given.value if given else current
    shown = text_of(field, value)
    origin = given.origin if given else variable_of(name)
    return BadSetting(origin, None if is_secret(field) else shown, expected or expected_of(field))

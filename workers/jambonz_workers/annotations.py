"""What the annotations of an application's functions stand for. Pure."""

import functools
import inspect
import types
from collections.abc import Callable
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from jambonz_workers.event import Event


def evaluated(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return what one parameter is annotated with, of text what it stands for; ``Any`` without an annotation.

    Only this one is looked at: what is imported for type checkers alone may well annotate the others.

    Raises:
        TypeError: If it names what is not there when the program runs.
    """
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return Any
    alone = types.SimpleNamespace(__annotations__={parameter.name: annotation})
    try:
        return get_type_hints(alone, _globals_of(function), include_extras=True)[parameter.name]
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise TypeError(
            f"{function_name(function)}: the annotation {annotation!r} of {parameter.name!r} cannot be read when the "
            f"program runs ({error}); import what it names at the top of the module, not under `if TYPE_CHECKING`"
        ) from None


def event_class(function: Callable[..., Any], signature: inspect.Signature) -> type[Event]:
    """Return the class that the second parameter of a handler is annotated with, ``Event`` if it is none of ours.

    Raises:
        TypeError: If the annotation cannot be read, names several, or what no event is.
    """
    # The last one, of one that takes them all: ``(*args)``.
    parameter = list(signature.parameters.values())[:2][-1]
    if parameter.annotation == Event.__name__:
        # What it gets in any case; linters move its import to where only type checkers see it.
        return Event
    hint = evaluated(function, parameter)
    found = _event_classes(hint)
    if not found and _cannot_be_an_event(hint):
        raise TypeError(
            f"{function_name(function)}: {parameter.name!r} is annotated with {parameter.annotation!r}, but what comes "
            "behind the call is the event: annotate it with Event or a class of jambonz_workers.events. "
            "event.data is the dict that jambonz sent, event.path_params has the variables of the path"
        )
    if len(found) > 1:
        names = " and ".join(sorted(one.__name__ for one in found))
        raise TypeError(
            f"{function_name(function)}: {parameter.name!r} cannot be both {names}; "
            "annotate it with Event and use event.seen_as(...)"
        )
    return found.pop() if found else Event


def check_first(function: Callable[..., Any], signature: inspect.Signature) -> None:
    """Let pass a handler whose first parameter may be the call.

    Raises:
        TypeError: If it is the event's, or an unbound method's.
    """
    parameter = next(iter(signature.parameters.values()))
    called = f"{function_name(function)}{signature}"
    if parameter.name in ("self", "cls"):
        raise TypeError(f"{called}: register the method of an instance, app.hook('/menu')(menus.choose)")
    try:
        hint = evaluated(function, parameter)
    except TypeError:
        # Nobody needs to read what the call is annotated with.
        hint = None
    if parameter.name == "event" or _event_classes(hint):
        raise TypeError(f"{called}: the call comes first, the event behind it: (call, event) or (call)")


def _cannot_be_an_event(hint: object) -> bool:
    """True for a class that no event is an instance of, such as ``dict[str, str]`` or ``int``."""
    alone = get_origin(hint) or hint
    if alone in (Any, Annotated, Union, types.UnionType) or not isinstance(alone, type):
        return False
    # Of a protocol nobody can tell without its members.
    return not getattr(alone, "_is_protocol", False) and not issubclass(Event, alone)


def _event_classes(hint: object) -> set[type[Event]]:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return {found for member in get_args(hint) for found in _event_classes(member)}
    if origin is Annotated:
        return _event_classes(get_args(hint)[0])
    return {hint} if isinstance(hint, type) and issubclass(hint, Event) else set()


def _globals_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the names that the annotations of a function can use, also of a partial or a callable object."""
    function = inspect.unwrap(function)
    while isinstance(function, functools.partial):
        function = inspect.unwrap(function.func)
    if not inspect.isroutine(function):
        function = inspect.unwrap(type(function).__call__)
    found: dict[str, Any] = getattr(function, "__globals__", {})
    return found


def function_name(function: object) -> str:
    """Return what to call a function in a message."""
    name: str = getattr(function, "__qualname__", repr(function))
    return name

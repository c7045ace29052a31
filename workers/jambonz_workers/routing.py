"""Which handler takes an event: paths with variables, and kinds. Pure."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from jambonz_shared.keys import APP_NAME
from jambonz_shared.kinds import is_ours
from jambonz_workers.annotations import check_first, event_class, function_name
from jambonz_workers.event import Event

Late = Literal["redirect", "drop"]
"""What happens to verbs that come after the gateway's deadline: still played by a redirect, or dropped."""

# Variables in the manner of Flask (``<step>``) or Express (``:step``), and patterns, would match themselves only.
_SEGMENT: Final = r"(?:(?!:)[^/{}\s?#<>\[\]\\^|\"]+|\{[A-Za-z_][A-Za-z0-9_]*\})"
_PATH: Final = re.compile(rf"/{_SEGMENT}?(?:/{_SEGMENT})*\Z")
_VARIABLE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True)
class Handler:
    """An application's function.

    Attributes:
        function: What the application registered.
        is_async: ``async def`` runs in the event loop, ``def`` in a thread.
        arity: How many arguments it takes, counted from ``call``.
        event_type: The class its second parameter is annotated with.
    """

    function: Callable[..., Any]
    is_async: bool
    arity: int
    event_type: type[Event] = Event

    def seen(self, event: Event) -> Event:
        """Return an event as the function wants it."""
        return event if self.event_type is Event else event.seen_as(self.event_type)

    @property
    def place(self) -> str:
        """The function's name with its file and line, for whoever has to mend it."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        return f"{self.name}, {code.co_filename}:{code.co_firstlineno}" if code else self.name

    @property
    def name(self) -> str:
        """The function's name, for logs."""
        return function_name(self.function)


@dataclass(frozen=True, slots=True)
class Route:
    """One path and its handler.

    Attributes:
        path: As registered, router prefixes included, such as ``"/menu/{step}"``.
        late: See ``Late``; sessions always ``"redirect"``.
        fallback: Verbs the gateway acks with at the deadline instead of its own policy.
    """

    path: str
    handler: Handler
    late: Late = "redirect"
    fallback: tuple[Mapping[str, Any], ...] | None = None


@dataclass(slots=True)
class RouteTable:
    """Routes by path; exact ones first, then those with variables in the order of their registration.

    Attributes:
        exact: Those without variables, by their paths.
    """

    what: str
    exact: dict[str, Route] = field(default_factory=dict)
    _patterns: dict[str, tuple[re.Pattern[str], Route]] = field(default_factory=dict)

    def add(self, route: Route) -> None:
        """Register a route.

        Raises:
            ValueError: If its path is there already.
        """
        shape = _VARIABLE.sub("{}", route.path)
        present = self.exact.get(shape) or self._patterns.get(shape, (None, None))[1]
        if present:
            raise ValueError(f"{self.what} {route.path!r} has a handler already: {present.handler.place}")
        if "{" in shape:
            self._patterns[shape] = (_pattern(route.path), route)
        else:
            self.exact[shape] = route

    def find(self, path: str) -> tuple[Route, dict[str, str]] | None:
        """Return the route of ``path`` (see ``hook_paths``) with its variables, or None."""
        if route := self.exact.get(path):
            return route, {}
        for pattern, candidate in self._patterns.values():
            if match := pattern.fullmatch(path):
                return candidate, match.groupdict()
        return None

    def first(self, paths: Iterable[str]) -> tuple[Route, dict[str, str]] | None:
        """Return what ``find`` gives for the first of ``paths`` that has a route, or None."""
        return next((found for path in paths if (found := self.find(path))), None)

    def __iter__(self) -> Iterator[Route]:
        yield from self.exact.values()
        for _, route in self._patterns.values():
            yield route


def checked_app_name(name: object) -> str:
    """Return the name of an app.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(name, str) or not APP_NAME.match(name):
        raise ValueError(f"app name {name!r}: expected 1 to 64 letters, digits or one of _ . -")
    return name


def checked_path(path: object, prefix: str = "") -> str:
    """Return prefix and path as one path without a trailing slash.

    Raises:
        TypeError: If ``path`` is no text.
        ValueError: If it is no path.
    """
    if not isinstance(path, str):
        raise TypeError(f"expected a path such as '/menu', got {type(path).__name__}; write @app.hook('/menu')")
    if not _PATH.match(path.removesuffix("/") if len(path) > 1 else path):
        raise ValueError(
            f"path {path!r}: expected it to begin with '/', variables as whole segments like '/menu/{{step}}'"
        )
    whole = (prefix + path).rstrip("/") or "/"
    names = _VARIABLE.findall(whole)
    if len(names) != len(set(names)):
        raise ValueError(f"path {whole!r} has the same variable twice")
    return whole


def checked_kind(kind: object) -> str:
    """Return an event kind.

    Raises:
        TypeError: If it is no text.
        ValueError: If no event can have it.
    """
    if not isinstance(kind, str):
        raise TypeError(
            f"expected a kind such as 'call:status', got {type(kind).__name__}; write @app.on('call:status')"
        )
    if not re.fullmatch(r"[a-z][a-z:_-]*", kind) or is_ours(kind):
        raise ValueError(f"kind {kind!r}: expected jambonz's own type, such as 'call:status'")
    return kind


def handler_of(function: object, arguments: tuple[str, ...], least: int = 1) -> Handler:
    """Return a checked handler; ``arguments`` are those it may take, the first ``least`` of them it must.

    Raises:
        TypeError: If it cannot be called so, takes the call for something else, or nobody can tell which class of event
            it wants.
    """
    wanted = " or ".join(f"({', '.join(arguments[:count])})" for count in range(len(arguments), least - 1, -1))
    if not callable(function) or isinstance(function, type):
        raise TypeError(f"expected a function {wanted}, got {_told(function)}")
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"{function_name(function)}: a handler returns its verbs, it does not yield them")
    signature = inspect.signature(function)
    for count in range(len(arguments), least - 1, -1):
        try:
            signature.bind(*arguments[:count])
        except TypeError:
            continue
        check_first(function, signature)
        is_async = any(inspect.iscoroutinefunction(it) for it in (function, type(function).__call__))
        event_type = event_class(function, signature) if count > 1 else Event
        return Handler(function, is_async, count, event_type)
    raise TypeError(f"{function_name(function)}{signature}: expected a function that can be called as {wanted}")


def _told(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _pattern(path: str) -> re.Pattern[str]:
    parts = _VARIABLE.split(path)
    text = "".join(f"(?P<{part}>[^/]+)" if at % 2 else re.escape(part) for at, part in enumerate(parts))
    return re.compile(text)

"""Paths, kinds and handlers as an application registers them."""

import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from jambonz_shared.paths import path_of, session_paths
from jambonz_workers import Call, Event
from jambonz_workers.events import GatherResult
from jambonz_workers.routing import Route, RouteTable, checked_kind, checked_path, handler_of


def handler(call: object, event: object) -> None:
    """Take both."""


HANDLER = handler_of(handler, ("call", "event"))


def table(*paths: str) -> RouteTable:
    routes = RouteTable("hook")
    for path in paths:
        routes.add(Route(path, HANDLER))
    return routes


@pytest.mark.parametrize(
    ("hook", "path"),
    [
        pytest.param("/menu", "/menu", id="path"),
        pytest.param("menu", "/menu", id="no_slash"),
        pytest.param("/menu/", "/menu", id="trailing_slash"),
        pytest.param("/menu?step=2#x", "/menu", id="query"),
        pytest.param("wss://app.example.net/menu", "/menu", id="url"),
        pytest.param("wss://app.example.net", "/", id="url_without_path"),
        pytest.param("wss://app.example.net?x=/y", "/", id="url_with_query_only"),
        pytest.param("", "/", id="empty"),
    ],
)
def test_a_hook_is_matched_by_its_path(hook: str, path: str) -> None:
    """It comes as the application wrote it into the verb (PROTOCOL.md 1.6)."""
    assert path_of(hook) == path


@pytest.mark.parametrize(
    ("path", "candidates"),
    [
        pytest.param("/ivr", ["/ivr"], id="path"),
        pytest.param("/ivr/adulting", ["/ivr"], id="adulting"),
        pytest.param("/ivr//adulting/", ["/ivr"], id="adulting_behind_a_slash"),
        pytest.param("/%69vr/", ["/%69vr", "/ivr"], id="percent_encoded"),
        pytest.param("/sh%6Fp/ivr", ["/sh%6Fp/ivr", "/shop/ivr", "/ivr"], id="percent_encoded_app"),
        pytest.param("/ivr/adulting/adulting", ["/ivr"], id="adulting_twice"),
        pytest.param("/adulting", ["/"], id="adulting_at_the_root"),
        pytest.param("/shop/ivr", ["/shop/ivr", "/ivr"], id="app_name"),
        pytest.param("/shop", ["/shop", "/"], id="app_name_only"),
        pytest.param("/ivr?x=1", ["/ivr"], id="query"),
    ],
)
def test_a_session_is_found_under_its_paths(path: str, candidates: list[str]) -> None:
    """It appends /adulting (pitfall 36); the first segment may name the app."""
    assert session_paths(path, "shop") == candidates


def test_variables_are_whole_segments() -> None:
    """Their values are given to the handler."""
    routes = table("/menu/{step}", "/menu/{step}/{choice}", "/menu/main")
    found = routes.find("/menu/2")
    assert found is not None
    assert (found[0].path, found[1]) == ("/menu/{step}", {"step": "2"})
    found = routes.find("/menu/2/yes")
    assert found is not None
    assert found[1] == {"step": "2", "choice": "yes"}
    assert routes.find("/menu") is None
    assert routes.find("/menu/2/yes/no") is None


def test_an_exact_path_is_preferred() -> None:
    """Whatever was registered first."""
    found = table("/menu/{step}", "/menu/main").find("/menu/main")
    assert found is not None
    assert (found[0].path, found[1]) == ("/menu/main", {})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("/menu", "/menu", id="same"),
        pytest.param("/menu/{a}", "/menu/{b}", id="same_shape"),
    ],
)
def test_a_path_has_one_handler(first: str, second: str) -> None:
    """The second would never run."""
    with pytest.raises(ValueError, match=r"has a handler already: handler, .*test_routing.py:\d+$"):
        table(first, second)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "menu",
        "/menu?x",
        "/me nu",
        "/{1x}",
        "/a{b}",
        "/a//b",
        "/{}",
        "/a#b",
        "/menu/<step>",
        "/menu/:step",
        r"/menu/(\d+)",
        "/menu/[0-9]",
    ],
)
def test_a_bad_path_is_refused(path: str) -> None:
    """No hook could ever match it."""
    with pytest.raises(ValueError, match="expected it to begin with '/'"):
        checked_path(path)


def test_a_path_is_checked_with_its_prefix() -> None:
    """Routers have prefixes."""
    assert checked_path("/", "/shop") == "/shop"
    assert checked_path("/menu/", "/shop") == "/shop/menu"
    with pytest.raises(ValueError, match="same variable twice"):
        checked_path("/{step}", "/{step}")


def test_a_decorator_without_parentheses_is_explained() -> None:
    """The commonest slip of all."""
    path: Any = handler
    with pytest.raises(TypeError, match=r"write @app.hook"):
        checked_path(path)
    with pytest.raises(TypeError, match=r"write @app.on"):
        checked_kind(path)


@pytest.mark.parametrize("kind", ["", "Call:Status", "cluster:ended", "/menu"])
def test_a_kind_no_event_has_is_refused(kind: str) -> None:
    """The handler would never run."""
    with pytest.raises(ValueError, match="jambonz's own type"):
        checked_kind(kind)


async def both(call: object, event: object) -> None:
    """Take both."""


async def one(call: object) -> None:
    """Take the call only."""


class Callable1:
    async def __call__(self, call: object) -> None:
        """Take the call only."""

    async def method(self, call: object) -> None:
        """Take the call only."""


def sync(call: object, event: object, extra: int = 0) -> None:
    """Take both, and an extra that nobody gives."""


@pytest.mark.parametrize(
    ("function", "arity", "is_async"),
    [
        pytest.param(both, 2, True, id="both"),
        pytest.param(one, 1, True, id="call_only"),
        pytest.param(sync, 2, False, id="def"),
        pytest.param(Callable1(), 1, True, id="callable_object"),
        pytest.param(functools.partial(both, event=None), 1, True, id="partial"),
        pytest.param(lambda call: None, 1, False, id="lambda"),
    ],
)
def test_handlers_take_call_and_maybe_event(function: Callable[..., Any], arity: int, is_async: bool) -> None:
    """Both forms, async or not."""
    found = handler_of(function, ("call", "event"))
    assert (found.arity, found.is_async) == (arity, is_async)
    assert found.name


async def nothing() -> None:
    """Take nothing."""


async def three(a: object, b: object, c: object) -> None:
    """Take too much."""


async def swapped(event: Event, call: Call) -> None:
    """Take them in the wrong order."""


async def result_only(result: GatherResult) -> None:
    """Take the event only."""


async def variable(call: Call, step: str) -> None:
    """Take a variable of the path."""


async def data(call: Call, event: dict[str, Any]) -> None:
    """Take what jambonz sent."""


def generator(call: object) -> Iterator[int]:
    """Yield."""
    yield 1


async def async_generator(call: object) -> AsyncIterator[int]:
    """Yield."""
    yield 1


@pytest.mark.parametrize(
    ("function", "text"),
    [
        pytest.param(nothing, r"called as \(call, event\) or \(call\)", id="no_parameter"),
        pytest.param(three, r"called as \(call, event\) or \(call\)", id="three_parameters"),
        pytest.param(generator, "does not yield", id="generator"),
        pytest.param(async_generator, "does not yield", id="async_generator"),
        pytest.param("menu", "got str", id="no_function"),
        pytest.param(ValueError, "got the class ValueError", id="class"),
        pytest.param(swapped, "the call comes first", id="event_first"),
        pytest.param(result_only, "the call comes first", id="class_of_an_event_first"),
        pytest.param(variable, "'step' is annotated with <class 'str'>, .* event.path_params", id="variable"),
        pytest.param(data, "'event' is annotated with dict.*, .* event.data is the dict", id="data"),
        pytest.param(Callable1.method, "register the method of an instance", id="unbound_method"),
    ],
)
def test_what_cannot_be_a_handler_is_refused(function: object, text: str) -> None:
    """At registration, not at the first call."""
    with pytest.raises(TypeError, match=text):
        handler_of(function, ("call", "event"))

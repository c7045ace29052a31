"""App and Router: registration, resolution, manifest."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import orjson
import pytest
from jambonz_sdk import VerbBuilder  # type: ignore[import-untyped]
from jambonz_sdk.verbs import Say  # type: ignore[import-untyped]

from jambonz_shared.manifest import Manifest
from jambonz_workers import App, Call, Event, InvalidVerbs, MessageTooBig, Router, Unsupported
from jambonz_workers.routing import Handler, Route

Registered = TypeVar("Registered", App, Router)


async def handler(call: Call, event: Event) -> None:
    """Do nothing."""


async def on_error(call: Call, event: Event, error: Exception) -> None:
    """Do nothing."""


def found(app: App, kind: str, *, hook: str = "", path: str = "/ivr") -> Any:
    resolved = app.resolve(Event(kind, "c1", {}, hook), path)
    if resolved is None:
        return None
    target, params = resolved
    return (target.path if isinstance(target, Route) else "kind", params)


def full_app() -> App:
    app = App("shop")
    app.session("/ivr")(handler)
    app.hook("/menu/{step}")(handler)
    app.on("verb:hook")(handler)
    app.on("session:redirect")(handler)
    app.on("call:status")(handler)
    return app


@pytest.mark.parametrize(
    ("kind", "hook", "path", "expected"),
    [
        pytest.param("session:new", "", "/ivr", ("/ivr", {}), id="session"),
        pytest.param("session:new", "", "/shop/ivr", ("/ivr", {}), id="session_behind_the_apps_name"),
        pytest.param("session:new", "", "/other", None, id="session_at_an_unknown_path"),
        pytest.param("verb:hook", "/menu/2", "/ivr", ("/menu/{step}", {"step": "2"}), id="hook"),
        pytest.param("verb:hook", "wss://x/menu/2", "/ivr", ("/menu/{step}", {"step": "2"}), id="absolute_hook"),
        pytest.param(
            "session:redirect",
            "wss://x/shop/menu/2?call_sid=c1",
            "/ivr",
            ("/menu/{step}", {"step": "2"}),
            id="transfer",
        ),
        pytest.param("verb:hook", "/shop/menu/2", "/ivr", ("kind", {}), id="relative_hook_behind_the_apps_name"),
        pytest.param("verb:hook", "/else", "/ivr", ("kind", {}), id="hook_without_route"),
        pytest.param("dial:confirm", "/menu/1", "/ivr", ("/menu/{step}", {"step": "1"}), id="confirm"),
        pytest.param("dial:confirm", "/else", "/ivr", None, id="confirm_without_route"),
        pytest.param("session:redirect", "/else", "/ivr", ("kind", {}), id="redirect"),
        pytest.param("llm:tool-call", "/menu/1", "/ivr", ("/menu/{step}", {"step": "1"}), id="tool_call"),
        pytest.param("call:status", "", "/ivr", ("kind", {}), id="notice"),
        pytest.param("tts:streaming-event", "", "/ivr", None, id="notice_without_handler"),
    ],
)
def test_events_find_their_handler(kind: str, hook: str, path: str, expected: object) -> None:
    """Sessions by path, hooks by hook, the rest by kind."""
    assert found(full_app(), kind, hook=hook, path=path) == expected


def test_sessions_without_a_route_come_to_the_kind() -> None:
    """An app may take calls at any path."""
    app = App()
    app.on("session:new")(handler)
    assert found(app, "session:new", path="/anything") == ("kind", {})


def test_an_included_router_gets_both_prefixes() -> None:
    """Routers nest."""
    inner, outer, app = Router("/menu"), Router("/shop"), App()
    inner.hook("/{step}", late="drop", fallback={"verb": "pause"})(handler)
    inner.session("/")(handler)
    inner.on("call:status")(handler)
    outer.include(inner)
    app.include(outer)
    assert found(app, "verb:hook", hook="/shop/menu/2") == ("/shop/menu/{step}", {"step": "2"})
    assert found(app, "session:new", path="/shop/menu") == ("/shop/menu", {})
    assert found(app, "call:status") == ("kind", {})
    (route,) = app.hooks
    assert (route.late, route.fallback) == ("drop", ({"verb": "pause"},))


def test_decorators_return_the_function() -> None:
    """So that it can be called in tests, and registered twice."""
    app = App()
    assert app.session("/a")(handler) is handler
    assert app.hook("/a")(handler) is handler
    assert app.on("call:status")(handler) is handler
    assert app.on_error(on_error) is on_error
    assert app.on_end(handler) is handler
    assert app.takeover(handler) is handler
    assert app.error_handler == Handler(on_error, is_async=True, arity=3)
    assert app.end_handler == app.takeover_handler == Handler(handler, is_async=True, arity=2)


def _any(value: Any) -> Any:
    """Return what a caller without type checks passes."""
    return value


async def bare_lifespan(_: App) -> AsyncIterator[None]:
    yield


lifespan = asynccontextmanager(bare_lifespan)


def twice(register: Callable[[App], object]) -> Callable[[App], object]:
    def both(app: App) -> None:
        register(app)
        register(app)

    return both


Registration = Callable[[App], object]


def _env(kind: str, **members: Any) -> Registration:
    return lambda _: App(env={"A": {"type": kind, "description": "x", **members}})


@pytest.mark.parametrize(
    ("register", "error", "text"),
    [
        pytest.param(twice(lambda app: app.session("/a")(handler)), ValueError, "already", id="session_twice"),
        pytest.param(twice(lambda app: app.hook("/a")(handler)), ValueError, "already", id="hook_twice"),
        pytest.param(twice(lambda app: app.on("call:status")(handler)), ValueError, "already", id="kind_twice"),
        pytest.param(twice(lambda app: app.on_error(on_error)), ValueError, "already", id="on_error_twice"),
        pytest.param(lambda app: app.on_error(handler), TypeError, "call, event, error", id="on_error_arity"),
        pytest.param(lambda app: app.hook("/a", late="never"), ValueError, "got 'never'", id="late"),
        pytest.param(lambda app: app.hook("/a", fallback="hi"), TypeError, "expected verbs", id="fallback"),
        pytest.param(lambda app: app.include(App()), TypeError, "expected a Router, got App", id="include_app"),
        pytest.param(lambda app: app.include("x"), TypeError, "expected a Router, got str", id="include_text"),
        pytest.param(lambda _: Router("menu"), ValueError, "begin with '/'", id="prefix"),
        pytest.param(lambda _: App("a b"), ValueError, "app name 'a b'", id="app_name"),
        pytest.param(lambda _: App(lifespan=_any(3)), TypeError, "got int", id="lifespan"),
        pytest.param(lambda _: App(lifespan=_any(bare_lifespan)), TypeError, "asynccontextmanager", id="lifespan_bare"),
        pytest.param(lambda _: App(lifespan=_any(lifespan(App()))), TypeError, "what it returns", id="lifespan_called"),
        pytest.param(lambda _: App(lifespan=_any(lambda: None)), TypeError, "called with the app", id="lifespan_arity"),
        pytest.param(lambda _: App(env=_any(["A"])), TypeError, "got list", id="env_list"),
        pytest.param(lambda _: App(env={"A-B": {}}), ValueError, "letters, digits", id="env_name"),
        pytest.param(lambda _: App(env={"A": _any("text")}), TypeError, "got str", id="env_not_a_dict"),
        pytest.param(lambda _: App(env={"A": {"type": "date"}}), ValueError, "got 'date'", id="env_type"),
        pytest.param(lambda _: App(env={"A": {"type": "string"}}), ValueError, "a description", id="env_text"),
        pytest.param(_env("string", default=None), ValueError, "default of type string, got None", id="env_no_default"),
        pytest.param(_env("string", default=["a"]), ValueError, r"got \['a'\]", id="env_list_as_default"),
        pytest.param(_env("number", default="many"), ValueError, "type number, got 'many'", id="env_number"),
        pytest.param(_env("number", default=True), ValueError, "type number, got True", id="env_number_of_truth"),
        pytest.param(_env("number", default=float("nan")), ValueError, "type number, got None", id="env_nan"),
        pytest.param(_env("boolean", default=1), ValueError, "type boolean, got 1", id="env_boolean"),
        pytest.param(_env("string", required="yes"), ValueError, "required to be a bool, got 'yes'", id="env_required"),
        pytest.param(_env("string", obscure=1), ValueError, "obscure to be a bool, got 1", id="env_obscure"),
        pytest.param(_env("string", enum="a,b"), ValueError, "enum to be a list, got 'a,b'", id="env_enum"),
        pytest.param(_env("string", enum=[{1}]), TypeError, "env 'A': ", id="env_json"),
    ],
)
def test_mistakes_are_found_at_registration(register: Registration, error: type[Exception], text: str) -> None:
    """Not by the first caller."""
    with pytest.raises(error, match=text):
        register(App())


SING = {"verb": "sing"}
AGENT = [{"verb": "agent"}]


@pytest.mark.parametrize(
    ("register", "error", "text"),
    [
        pytest.param(lambda: App(fallback=_say(30_000)), MessageTooBig, "fallback of the app", id="too_big"),
        pytest.param(lambda: _hook(App(), _say(30_000)), MessageTooBig, "fallback of hook '/a'", id="hook_too_big"),
        pytest.param(lambda: _hook(Router(), _say(30_000)), MessageTooBig, "'/a'", id="router_too_big"),
        pytest.param(lambda: App(fallback={"verb": "say", "text": {1}}), TypeError, "fallback of the app: ", id="json"),
        pytest.param(lambda: App(fallback=AGENT, target="0.9"), Unsupported, "'agent'", id="target"),
        pytest.param(lambda: _hook(App(target="0.9"), AGENT), Unsupported, "'agent'", id="hook_target"),
        pytest.param(lambda: _included(App(target="0.9"), AGENT), Unsupported, "'agent'", id="router_target"),
        pytest.param(lambda: App(fallback=SING, validate_verbs=True), InvalidVerbs, "sing", id="schema"),
        pytest.param(lambda: _hook(App(validate_verbs=True), SING), InvalidVerbs, "sing", id="hook_schema"),
        pytest.param(lambda: _included(App(validate_verbs=True), SING), InvalidVerbs, "sing", id="router_schema"),
        pytest.param(lambda: App(fallback=SING).validate_fallbacks(), InvalidVerbs, "sing", id="asked_later"),
        pytest.param(lambda: _hook(App(), SING).validate_fallbacks(), InvalidVerbs, "sing", id="hook_asked_later"),
    ],
)
def test_a_fallback_is_checked_where_it_is_written(
    register: Callable[[], object], error: type[Exception], text: str
) -> None:
    """A gateway can neither say it nor ask anybody when a caller waits for it."""
    with pytest.raises(error, match=text):
        register()


def _say(length: int) -> object:
    return {"verb": "say", "text": "x" * length}


def _hook(to: Registered, fallback: object) -> Registered:
    to.hook("/a", fallback=fallback)(handler)
    return to


def _included(app: App, fallback: object) -> None:
    app.include(_hook(Router(), fallback))


def test_a_good_fallback_of_models_reaches_the_manifest() -> None:
    """Models may stand inside of dicts, as in what a handler returns."""
    app = _hook(App(fallback=Say(text="Hi"), target="0.9", validate_verbs=True), VerbBuilder().say(text="Hi"))
    app.hook("/b", fallback=[{"verb": "gather", "input": ["digits"], "actionHook": "/b", "say": Say(text="Hi")}])(
        handler
    )
    app.validate_fallbacks()
    manifest = Manifest.decode(app.manifest().encode())
    say = {"verb": "say", "text": "Hi"}
    assert manifest.fallback == (say,)
    assert manifest.hooks["/a"] == ("redirect", (say,))
    assert manifest.hooks["/b"][1] == ({"verb": "gather", "input": ["digits"], "actionHook": "/b", "say": say},)


def test_calls_are_there_while_a_worker_runs() -> None:
    """The text says what to use elsewhere."""
    with pytest.raises(RuntimeError, match=r"Calls\.connect"):
        _ = App().calls


def test_the_manifest_tells_gateways_what_they_need() -> None:
    """Its bytes are the same for the same app, so that workers do not overwrite each other with differences."""
    greeting = {"type": "string", "description": "What to say first", "default": "hello"}
    app = App("shop", env={"GREETING": greeting}, fallback=[{"verb": "hangup"}])
    app.session("/b/{id}")(handler)
    app.session("/a")(handler)
    app.on("session:new")(handler)
    app.hook("/plain")(handler)
    app.hook("/wait", late="drop")(handler)
    app.hook("/ask", fallback={"verb": "pause", "length": 1})(handler)
    assert orjson.loads(app.manifest().encode()) == {
        "version": 1,
        "app": "shop",
        "paths": ["/a", "/b/{id}"],
        "open": True,
        "env": {"GREETING": greeting},
        "fallback": [{"verb": "hangup"}],
        "hooks": {
            "/ask": {"late": "redirect", "fallback": [{"verb": "pause", "length": 1}]},
            "/wait": {"late": "drop", "fallback": None},
        },
    }

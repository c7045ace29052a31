"""App and Router: where an application registers its handlers. No I/O; checks everything at registration."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from jambonz_shared.kinds import kind_of
from jambonz_shared.manifest import Manifest
from jambonz_shared.paths import hook_paths, path_of, session_paths
from jambonz_workers.annotations import function_name
from jambonz_workers.call import Call
from jambonz_workers.capabilities import Target, check_verbs, checked_target
from jambonz_workers.environment import checked_environment
from jambonz_workers.event import Event
from jambonz_workers.routing import (
    Handler,
    Late,
    Route,
    RouteTable,
    checked_app_name,
    checked_kind,
    checked_path,
    handler_of,
)
from jambonz_workers.tool_answers import TOOL_KINDS
from jambonz_workers.tools import TOOL_S, Toolbox, checked_tool, tool_of
from jambonz_workers.verb_schemas import InvalidVerbs, action_hooks, check_schemas, nearest
from jambonz_workers.verbs import Verbs, plain_verbs

if TYPE_CHECKING:
    from jambonz_workers.calls import Calls

# Bounds, so that type checkers refuse a function that cannot be called so; its own type is kept. The event may be any
# class of jambonz_workers.events, which is for the handler to say.
Function = TypeVar("Function", bound=Callable[[Call], object] | Callable[[Call, Any], object])
ErrorFunction = TypeVar("ErrorFunction", bound=Callable[[Call, Event, Exception], object])
ToolFunction = TypeVar("ToolFunction", bound=Callable[..., object])
Fallback = tuple[Mapping[str, Any], ...] | None
Lifespan = Callable[["App"], AbstractAsyncContextManager[None]]

_LATE: Final = ("redirect", "drop")
_CALL: Final = ("call", "event")


class Router:
    """A set of handlers, to be included in an App under a common prefix."""

    def __init__(self, prefix: str = "") -> None:
        """Make an empty router.

        Raises:
            ValueError: If ``prefix`` is neither empty nor a path.
        """
        self.prefix = checked_path(prefix).rstrip("/") if prefix else ""
        self.sessions = RouteTable("session")
        self.hooks = RouteTable("hook")
        self.kinds: dict[str, Handler] = {}
        self.concurrent: set[str] = set()
        self.toolbox = Toolbox()

    def session(self, path: str) -> Callable[[Function], Function]:
        """Register the handler of ``session:new`` for calls whose websocket was opened at ``path``."""
        whole = checked_path(path, self.prefix)

        def register(function: Function) -> Function:
            self.sessions.add(Route(whole, handler_of(function, _CALL)))
            return function

        return register

    def hook(self, path: str, *, late: Late = "redirect", fallback: object = None) -> Callable[[Function], Function]:
        """Register the handler of a hook, such as the ``actionHook`` of a gather.

        Args:
            path: Matches the hook as it stands in the verb; of an absolute URL, its path.
            late: What to do with verbs that come after the gateway's deadline: ``"redirect"`` plays them all
                the same, ``"drop"`` forgets them (for wait hooks, whose verbs mean nothing elsewhere).
            fallback: Verbs the gateway acks with at the deadline, instead of its own policy.

        Raises:
            TypeError: If ``path`` is no text or ``fallback`` no verbs.
            ValueError: If ``path`` is no path, ``late`` unknown, or the path registered already.
            MessageTooBig: If ``fallback`` does not fit into one ack.
            Unsupported, InvalidVerbs: If the app may not send ``fallback``.
        """
        whole = checked_path(path, self.prefix)
        if late not in _LATE:
            raise ValueError(f"hook {path!r}: expected late='redirect' or late='drop', got {late!r}")
        verbs = None if fallback is None else plain_verbs(fallback, f"fallback of hook {path!r}")
        self._check_fallback(verbs)

        def register(function: Function) -> Function:
            self.hooks.add(Route(whole, handler_of(function, _CALL), late, verbs))
            return function

        return register

    def on(self, kind: str, *, concurrent: bool = False) -> Callable[[Function], Function]:
        """Register the handler of a kind, such as ``"call:status"``; of hooks only those without a route come here.

        Args:
            kind: jambonz's own type.
            concurrent: Start it when the event arrives, beside the handler that may be running, as background work:
                its commands go out at once, and it may run again if the worker dies. For notices that stop
                something, such as ``tts:streaming-event``. Only ``async def``.

        Raises:
            TypeError: If ``kind`` is no text, or a concurrent handler is not ``async def``.
            ValueError: If there is no such kind, it has a handler, or a hook is to be concurrent.
        """
        name = checked_kind(kind)
        if concurrent and kind_of(name).is_hook:
            raise ValueError(f"kind {kind!r} is a hook: its handler gives the answer, so it cannot be concurrent")

        def register(function: Function) -> Function:
            handler = handler_of(function, _CALL)
            if concurrent and not handler.is_async:
                raise TypeError(f"{handler.name}: a concurrent handler is an `async def`")
            self._add_kind(name, handler)
            if concurrent:
                self.concurrent.add(name)
            return function

        return register

    def tool(self, name: str, *, timeout_s: float = TOOL_S) -> Callable[[ToolFunction], ToolFunction]:
        """Register a tool of the running model (llm, s2s and agent verbs): a function of named arguments.

        Its first parameter may be ``call``. The model's arguments are checked against the annotations; what it
        returns, or why there is nothing, is sent in the shape of the model's vendor. It runs as a handler of the call
        does: other events wait, and its commands and state take effect with the answer.

        Args:
            name: As in the verb's description of the tool.
            timeout_s: After this time the model is told that the tool did not answer.

        Raises:
            TypeError: If ``name`` is no text, or what is registered no function of named parameters.
            ValueError: If ``name`` is empty, ``timeout_s`` not positive, or there is a tool of this name.
        """
        checked_tool(name, timeout_s)

        def register(function: ToolFunction) -> ToolFunction:
            self.toolbox.add(tool_of(name, function, timeout_s))
            return function

        return register

    def include(self, router: "Router") -> None:
        """Take over all handlers that ``router`` has now, under this router's prefix.

        Raises:
            TypeError: If it is no Router, or an App.
            ValueError: If a handler is there already.
            Unsupported, InvalidVerbs: If the app may not send a fallback of the router.
        """
        if not isinstance(router, Router) or isinstance(router, App):
            raise TypeError(f"expected a Router, got {type(router).__name__}")
        for mine, theirs in ((self.sessions, router.sessions), (self.hooks, router.hooks)):
            for route in theirs:
                whole = checked_path(route.path, self.prefix)
                self._check_fallback(route.fallback)
                mine.add(Route(whole, route.handler, route.late, route.fallback))
        for kind, handler in router.kinds.items():
            self._add_kind(kind, handler)
        self.concurrent |= router.concurrent
        for tool in router.toolbox.tools.values():
            self.toolbox.add(tool)

    def _check_fallback(self, _: Fallback) -> None:
        """Let pass a fallback that the app may send; which app it is for, a router learns when it is included."""

    def _add_kind(self, kind: str, handler: Handler) -> None:
        if kind in self.kinds:
            raise ValueError(f"kind {kind!r} has a handler already: {self.kinds[kind].place}")
        self.kinds[kind] = handler


class App(Router):
    """A voice application: what workers run.

    Attributes:
        name: Which calls it serves: those whose url begins with it, or all if it is ``"default"``.
        calls: Live calls of all workers, see ``Calls``; there while a worker runs the app.
    """

    def __init__(
        self,
        name: str = "default",
        *,
        env: Mapping[str, Mapping[str, Any]] | None = None,
        fallback: object = None,
        lifespan: Lifespan | None = None,
        target: Target | None = None,
        validate_verbs: bool | None = None,
    ) -> None:
        """Make an application without handlers.

        Args:
            name: Letters, digits and ``_.-``, at most 64.
            env: Environment variables that jambonz asks an operator for, such as
                ``{"GREETING": {"type": "string", "description": "What to say first", "default": "hello"}}``.
            fallback: Verbs an inbound call gets when no worker answers in time.
            target: The line of jambonz it is made for, ``"0.9"`` or ``"10+"``: what that line lacks is refused
                before it is sent. None: everything is sent, since nothing tells the version of a jambonz.
            validate_verbs: Check verbs against jambonz's JSON Schemas before they are sent, so that a mistake is an
                exception of the handler. Needs the extra ``sdk``. None: as the setting ``validate_verbs`` of the
                worker says, which is off, and on in ``jambonz-cluster dev``: it costs time.
            lifespan: ``lifespan(app)`` is an async context manager that is open while a worker runs.

        Raises:
            TypeError: If an argument has the wrong type.
            ValueError: If a value is not allowed.
            MessageTooBig: If ``fallback`` does not fit into one ack.
            Unsupported, InvalidVerbs: If ``fallback`` is not for ``target``, or wrong where verbs are validated.
        """
        super().__init__()
        checked_app_name(name)
        self.name = name
        self.env = checked_environment({} if env is None else env)
        self.lifespan = None if lifespan is None else _checked_lifespan(lifespan)
        self.target = checked_target(target)
        self.validate_verbs = validate_verbs
        self.fallback = None if fallback is None else plain_verbs(fallback, "fallback of the app")
        self._check_fallback(self.fallback)
        self.error_handler: Handler | None = None
        self.end_handler: Handler | None = None
        self.takeover_handler: Handler | None = None
        self._calls: Calls | None = None

    @property
    def calls(self) -> "Calls":
        """Live calls of all workers.

        Raises:
            RuntimeError: If no worker runs this app in this process.
        """
        if self._calls is None:
            raise RuntimeError("app.calls is there while a worker runs the app; elsewhere use Calls.connect(redis_url)")
        return self._calls

    @calls.setter
    def calls(self, calls: "Calls | None") -> None:
        self._calls = calls

    def on_error(self, function: ErrorFunction) -> ErrorFunction:
        """Register ``(call, event, error)``, called when a handler raised; it may return verbs for a hook.

        Raises:
            TypeError: If it cannot be called so.
            ValueError: If there is one already.
        """
        self.error_handler = _once("on_error", self.error_handler, handler_of(function, ("call", "event", "error"), 3))
        return function

    def on_end(self, function: Function) -> Function:
        """Register ``(call)`` or ``(call, event)``, called once when the call is over."""
        self.end_handler = _once("on_end", self.end_handler, handler_of(function, _CALL))
        return function

    def takeover(self, function: Function) -> Function:
        """Register ``(call)`` or ``(call, event)``, called when a call comes from a worker that died."""
        self.takeover_handler = _once("takeover", self.takeover_handler, handler_of(function, _CALL))
        return function

    def resolve(self, event: Event, path: str) -> tuple[Route | Handler, dict[str, str]] | None:
        """Return who handles ``event`` of a call connected at ``path``, with the path's variables; or None."""
        if event.kind == "session:new":
            if found := self.sessions.first(session_paths(path, self.name)):
                return found
        elif event.hook and (found := self.hooks.first(hook_paths(event.hook, self.name))):
            return found
        handler = self.kinds.get(event.kind)
        if event.kind in TOOL_KINDS and self.toolbox.tools and (handler is None or event in self.toolbox):
            handler = self.toolbox.handler
        return (handler, {}) if handler else None

    def validates(self, *, default: bool) -> bool:
        """Tell whether its verbs are checked against the schemas; ``default`` is what the worker's setting says."""
        return default if self.validate_verbs is None else self.validate_verbs

    def validate(self, verbs: Verbs) -> None:
        """Check verbs against jambonz's schemas, and that an ``actionHook`` is no misspelt path of this app.

        Raises:
            InvalidVerbs: If one is wrong.
            ImportError: If jambonz-python-sdk is not installed.
        """
        check_schemas(verbs)
        # A handler of the kind takes every hook.
        if {"verb:hook", "session:redirect"} & self.kinds.keys():
            return
        hooks = {hook for hook in action_hooks(verbs) if not self.hooks.first(hook_paths(hook, self.name))}
        paths = [route.path for route in self.hooks]
        meant = {hook: nearest(path_of(hook), paths) for hook in sorted(hooks)}
        wrong = [f"no handler of the actionHook {hook!r}; was {path!r} meant?" for hook, path in meant.items() if path]
        if wrong:
            raise InvalidVerbs(wrong)

    def validate_fallbacks(self) -> None:
        """Check the fallbacks against jambonz's schemas, where the worker's setting and not the app asks for it.

        Raises:
            InvalidVerbs: If one is wrong.
            ImportError: If jambonz-python-sdk is not installed.
        """
        for verbs in (self.fallback, *(route.fallback for route in self.hooks)):
            self.validate(verbs or ())

    def _check_fallback(self, verbs: Fallback) -> None:
        check_verbs(verbs or (), self.target)
        if self.validate_verbs:
            check_schemas(verbs or ())

    def manifest(self) -> Manifest:
        """Return what gateways must know of this app."""
        return Manifest(
            app=self.name,
            paths=tuple(route.path for route in self.sessions),
            is_open="session:new" in self.kinds,
            env=self.env,
            fallback=self.fallback,
            hooks={
                route.path: (route.late, route.fallback)
                for route in self.hooks
                if route.late != "redirect" or route.fallback is not None
            },
        )


def _checked_lifespan(lifespan: Lifespan) -> Lifespan:
    if not callable(lifespan):
        raise TypeError(f"expected lifespan to be a function (app), got {type(lifespan).__name__}")
    if isinstance(lifespan, AbstractAsyncContextManager):
        raise TypeError(
            "expected lifespan to be a function (app), got what it returns; write lifespan=open_all, not open_all(app)"
        )
    if (
        inspect.isasyncgenfunction(lifespan)
        or inspect.isgeneratorfunction(lifespan)
        or inspect.iscoroutinefunction(lifespan)
    ):
        raise TypeError(f"lifespan {function_name(lifespan)}: decorate it with contextlib.asynccontextmanager")
    try:
        inspect.signature(lifespan).bind(None)
    except TypeError as error:
        raise TypeError(f"lifespan {function_name(lifespan)}: it is called with the app: {error}") from None
    return lifespan


def _once(what: str, present: Handler | None, handler: Handler) -> Handler:
    if present is not None:
        raise ValueError(f"{what} has a handler already: {present.place}")
    return handler

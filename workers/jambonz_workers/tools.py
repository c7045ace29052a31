"""Tools that models call: functions of the application, their arguments checked, every call answered."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, PydanticUserError, ValidationError, create_model

from jambonz_shared.errors import MessageTooBig
from jambonz_workers.annotations import evaluated
from jambonz_workers.call import Call
from jambonz_workers.event import Event
from jambonz_workers.live import is_told_to_end
from jambonz_workers.routing import Handler
from jambonz_workers.tool_answers import Asked, Told, answer_of, asked_in

log = logging.getLogger(__name__)

# A caller on the line hears silence meanwhile, and the call's other events wait.
TOOL_S: Final = 8.0

_FAILED: Final = Told("the tool failed", is_error=True)
_TOO_BIG: Final = Told("the result is too big to be told", is_error=True)


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call.

    Attributes:
        wants_call: Its first parameter is the call.
        arguments: Checks what the model sends.
    """

    name: str
    function: Callable[..., Any]
    timeout_s: float
    wants_call: bool
    arguments: type[BaseModel]

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments, for the description of the tool in the verb."""
        schema = self.arguments.model_json_schema()
        schema.pop("title", None)
        return schema


def checked_tool(name: object, timeout_s: float) -> None:
    """Let pass what a tool can be called, and may take.

    Raises:
        TypeError: If the name is no text, such as the function itself, or the time no number.
        ValueError: If the name is empty or the time not positive.
    """
    if not isinstance(name, str):
        raise TypeError(f"expected a tool's name, got {type(name).__name__}; write @app.tool('name')")
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise TypeError(f"tool {name!r}: expected timeout_s in seconds, got {timeout_s!r}")
    if not name or timeout_s <= 0:
        raise ValueError(f"expected a tool's name and a positive timeout_s, got {name!r} and {timeout_s!r}")


def tool_of(name: str, function: object, timeout_s: float) -> Tool:
    """Return a checked tool.

    Raises:
        TypeError: If it is no function, or takes other parameters than the call and named ones.
        ValueError: See ``checked_tool``.
    """
    checked_tool(name, timeout_s)
    if not inspect.isroutine(function):
        raise TypeError(f"expected a function, got {type(function).__name__}; write @app.tool('name')")
    parameters = list(inspect.signature(function).parameters.values())
    wants_call = bool(parameters) and _is_call(function, parameters[0])
    fields: dict[str, Any] = {}
    for parameter in parameters[wants_call:]:
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"tool {name!r}: parameter {parameter.name!r} has to have a name of its own")
        if parameter.name == "call":
            raise TypeError(f"tool {name!r}: 'call' is given as the first argument, so it comes first, before any *")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (evaluated(function, parameter), default)
    if hidden := [it for it in fields if it.startswith("_") or it == "model_config"]:
        raise TypeError(f"tool {name!r}: no model can give {hidden[0]!r}, whose name pydantic keeps for itself")
    try:
        arguments = create_model(name, __config__=_CONFIG, **fields)
    except PydanticUserError as error:
        why = error.message.partition(". ")[0]
        raise TypeError(
            f"tool {name!r}: its arguments come as JSON, and one is annotated with what is not: {why}"
        ) from None
    return Tool(name, function, timeout_s, wants_call, arguments)


def _is_call(function: Callable[..., Any], parameter: inspect.Parameter) -> bool:
    if parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
        return False
    # By its name alone, too: it may be annotated with what is imported for type checkers only.
    return parameter.name == "call" or evaluated(function, parameter) is Call


_CONFIG: Final = ConfigDict(extra="forbid", arbitrary_types_allowed=False)


class Toolbox:
    """The tools of an app. ``handler`` answers a model's call with what they give, whatever happens in them."""

    def __init__(self) -> None:
        self.tools: dict[str, Tool] = {}
        # A worker has threads of its own for what an application does in them.
        self.in_thread: Callable[..., Awaitable[Any]] = asyncio.to_thread
        self.handler = Handler(self.answer, is_async=True, arity=2)

    def add(self, tool: Tool) -> None:
        """Register a tool.

        Raises:
            ValueError: If there is one of its name.
        """
        if tool.name in self.tools:
            raise ValueError(f"tool {tool.name!r} is there already")
        self.tools[tool.name] = tool

    def __contains__(self, event: Event) -> bool:
        return any(asked.name in self.tools for asked in asked_in(event))

    async def answer(self, call: Call, event: Event) -> None:
        """Run what an event asks for, and send one answer in the shape of the running model."""
        asked = asked_in(event)
        if not asked:
            return
        told = await asyncio.gather(*(self._run(call, one) for one in asked))
        if len(told) == 1 and told[0].is_error:
            # As with a handler that raises. Of several that ran together nobody knows which did what.
            call.undo()
        tool_call_id = event.data.get("tool_call_id")
        answers = tool_call_id if isinstance(tool_call_id, str) else asked[0].tool_call_id
        try:
            call.tool_output(answers, answer_of(event.kind, call.model_vendor, list(zip(asked, told, strict=True))))
        except MessageTooBig as error:
            log.error("%s", error, extra={"call_sid": call.sid, "tool": ", ".join(one.name for one in asked)})
            refused = [(one, _TOO_BIG) for one in asked]
            call.tool_output(answers, answer_of(event.kind, call.model_vendor, refused))

    async def _run(self, call: Call, asked: Asked) -> Told:
        tool = self.tools.get(asked.name)
        if tool is None:
            return Told(f"there is no tool {asked.name!r}", is_error=True)
        try:
            arguments = tool.arguments.model_validate(dict(asked.arguments))
        except ValidationError as error:
            return Told(_words(error), is_error=True)
        given = {name: getattr(arguments, name) for name in tool.arguments.model_fields}
        positional = (call,) if tool.wants_call else ()
        extra = {"call_sid": call.sid, "tool": tool.name}
        try:
            async with asyncio.timeout(tool.timeout_s) as limit:
                if inspect.iscoroutinefunction(tool.function):
                    value = await tool.function(*positional, **given)
                else:
                    value = await self.in_thread(tool.function, *positional, **given)
            told = Told(value)
            # Here, where it can still be answered: JSON may not hold it.
            _ = told.plain
        except TimeoutError:
            if not limit.expired():
                log.exception("tool failed", extra=extra)
                return _FAILED
            log.warning("tool took too long", extra=extra)
            return Told(f"the tool did not answer within {tool.timeout_s:g} s", is_error=True)
        except asyncio.CancelledError:
            # That of a thread tells that the worker stops.
            if is_told_to_end() or not inspect.iscoroutinefunction(tool.function):
                raise
            log.exception("tool failed: what it awaited was cancelled", extra=extra)
            return _FAILED
        except (Exception, SystemExit):
            # Not even the end of the process, which has other calls.
            log.exception("tool failed", extra=extra)
            return _FAILED
        return told


def _words(error: ValidationError) -> str:
    """Return what is wrong with the arguments, for the model to do better; without what it sent."""
    wrong = [
        f"{'.'.join(map(str, it['loc']))}: {it['msg']}" for it in error.errors(include_input=False, include_url=False)
    ]
    return "wrong arguments: " + "; ".join(wrong)

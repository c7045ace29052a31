"""Tools of models: arguments checked, every call answered, in the shape that its vendor takes."""

import asyncio
import sys
from typing import Annotated, Any, Literal

import orjson
import pytest
from pydantic import Field

from jambonz_workers import App, Call, Event
from jambonz_workers.testing import AppClient
from jambonz_workers.tools import tool_of
from jambonz_workers.verbs import vendor_in

CALL = {"tool_call_id": "t1", "name": "find_order", "args": {"order_no": "A-77"}}


def shop() -> App:
    app = App()

    @app.tool("find_order")
    async def find_order(call: Call, order_no: str, limit: Annotated[int, Field(ge=1)] = 3) -> object:
        call.state["found"] = order_no
        return {"status": "shipped", "limit": limit}

    @app.tool("slow", timeout_s=0.01)
    async def slow() -> None:
        await asyncio.Event().wait()

    @app.tool("fails")
    def fails() -> None:
        raise RuntimeError("secret of the house")

    @app.tool("exits")
    async def exits() -> None:
        sys.exit(3)

    @app.tool("times_out_itself")
    async def times_out_itself() -> None:
        raise TimeoutError

    @app.tool("cancelled")
    async def cancelled() -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    @app.tool("table")
    async def table(kind: str) -> object:
        return {"text": "| a | b |", "list": [{"row|": "a|b"}, 1]}[kind]

    @app.tool("long")
    async def long() -> str:
        return "x" * 30_000

    @app.tool("not_json")
    async def not_json() -> object:
        return object()

    @app.tool("half_an_emoji")
    async def half_an_emoji() -> object:
        return "\ud83d"

    @app.hook("/start/{vendor}")
    async def start(call: Call, event: Event) -> object:
        return {"verb": "llm", "vendor": event.path_params["vendor"]}

    return app


async def told(vendor: str, data: dict[str, Any], kind: str = "llm:tool-call") -> dict[str, Any]:
    async with AppClient(shop()) as client:
        if vendor:
            await client.hook(f"/start/{vendor}")
        (frame,) = (await client.send(kind, data)).commands
    assert frame["command"] == "llm:tool-output"
    assert frame["tool_call_id"] == data["tool_call_id"]
    answer: dict[str, Any] = frame["data"]
    return answer


FOUND = {"status": "shipped", "limit": 3}
TEXT = orjson.dumps(FOUND).decode()
OPENAI = {
    "type": "conversation.item.create",
    "item": {"type": "function_call_output", "call_id": "t1", "output": TEXT},
}


@pytest.mark.parametrize(
    ("vendor", "answer"),
    [
        ("openai", OPENAI),
        ("microsoft", OPENAI),
        ("", OPENAI),
        ("ultravox", {"type": "client_tool_result", "invocation_id": "t1", "result": TEXT}),
        (
            "elevenlabs",
            {"data": {"type": "client_tool_result", "tool_call_id": "t1", "result": TEXT, "is_error": False}},
        ),
        ("deepgram", {"data": {"type": "FunctionCallResponse", "id": "t1", "name": "find_order", "content": TEXT}}),
        ("voiceagent", {"data": {"type": "FunctionCallResponse", "id": "t1", "name": "find_order", "content": TEXT}}),
    ],
)
async def test_the_answer_has_the_vendors_shape(vendor: str, answer: dict[str, Any]) -> None:
    """jambonz drops any other without a word (PROTOCOL.md 5.1)."""
    assert await told(vendor, CALL) == answer


@pytest.mark.parametrize(
    ("vendor", "kind", "answer"),
    [
        ("openai", "text", "¦ a ¦ b ¦"),
        ("openai", "list", '[{"row\\u007c":"a\\u007cb"},1]'),
        ("ultravox", "text", "¦ a ¦ b ¦"),
        ("elevenlabs", "list", '[{"row\\u007c":"a\\u007cb"},1]'),
        ("deepgram", "text", "¦ a ¦ b ¦"),
        ("google", "text", {"result": "¦ a ¦ b ¦"}),
        ("google", "list", {"result": [{"row¦": "a¦b"}, 1]}),
    ],
)
async def test_jambonz_finds_nothing_to_cut_an_answer_at(vendor: str, kind: str, answer: object) -> None:
    """It joins the arguments of the model's module by ``|``: of a table the model would get one character."""
    call = {"tool_call_id": "t1", "name": "table", "args": {"kind": kind}}
    data = {**call, "function_calls": [{"id": "f1", **call}]} if vendor == "google" else call
    told_data = await told(vendor, data)
    assert "|" not in orjson.dumps(told_data).decode()
    assert answer in _values(told_data)
    if isinstance(answer, str) and kind == "list":
        assert orjson.loads(answer) == [{"row|": "a|b"}, 1]


def _values(data: Any) -> list[object]:
    """Return all that is in an answer, at any depth."""
    inner = list(data.values()) if isinstance(data, dict) else data if isinstance(data, list) else []
    return [*inner, *(value for it in inner for value in _values(it))]


async def test_an_event_that_asks_for_nothing_is_not_answered(caplog: pytest.LogCaptureFixture) -> None:
    """There is no model that waits for it."""
    async with AppClient(shop()) as client:
        data = {"tool_call_id": "function_call_id", "type": "toolCall", "function_calls": []}
        assert (await client.send("llm:tool-call", data)).commands == []
    assert caplog.records == []


async def test_an_agents_answer_is_a_result() -> None:
    """The commercial line's own shape; its arguments may be JSON text (PROTOCOL.md 5.2)."""
    data = {"tool_call_id": "t1", "name": "find_order", "arguments": '{"order_no": "A"}'}
    assert await told("openai", data, "agent:tool-call") == {"result": FOUND}


@pytest.mark.parametrize("arguments", ["args", "arguments"])
async def test_a_model_without_an_agent_keeps_its_vendors_shape_on_the_commercial_line(arguments: str) -> None:
    """What came decides about the answer, not the line; arguments have either name (PROTOCOL.md 5.2)."""
    app = shop()
    app.target = "10+"
    async with AppClient(app) as client:
        await client.hook("/start/ultravox")
        data = {"tool_call_id": "t1", "name": "find_order", arguments: {"order_no": "A"}}
        (frame,) = (await client.send("llm:tool-call", data)).commands
    assert frame["data"] == {"type": "client_tool_result", "invocation_id": "t1", "result": TEXT}


async def test_google_gets_one_answer_for_all_its_calls() -> None:
    """They come together, with one constant id."""
    calls = [
        {"id": "f1", "name": "find_order", "args": {"order_no": "A"}},
        {"id": "f2", "name": "nobody", "args": {}},
        "junk",
    ]
    data = {"tool_call_id": "function_call_id", "type": "toolCall", "function_calls": calls}
    assert await told("google", data) == {
        "toolResponse": {
            "functionResponses": [
                {"id": "f1", "name": "find_order", "response": FOUND},
                {"id": "f2", "name": "nobody", "response": {"error": "there is no tool 'nobody'"}},
            ]
        }
    }


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        pytest.param("find_order", {}, "wrong arguments: order_no: Field required", id="missing"),
        pytest.param("find_order", {"order_no": "A", "limit": 0}, "limit: Input should be greater", id="too_small"),
        pytest.param("find_order", {"order_no": "A", "colour": 1}, "colour: Extra inputs", id="unknown"),
        pytest.param("nobody", {}, "there is no tool 'nobody'", id="no_such_tool"),
        pytest.param("slow", {}, "did not answer within 0.01 s", id="too_slow"),
        pytest.param("fails", {}, "the tool failed", id="raises"),
        pytest.param("exits", {}, "the tool failed", id="exits"),
        pytest.param("times_out_itself", {}, "the tool failed", id="a_timeout_of_its_own"),
        pytest.param("cancelled", {}, "the tool failed", id="what_it_awaits_is_cancelled"),
        pytest.param("long", {}, "the result is too big to be told", id="over_24_000_bytes"),
        pytest.param("not_json", {}, "the tool failed", id="no_json"),
        pytest.param("half_an_emoji", {}, "the tool failed", id="no_utf_8"),
    ],
)
async def test_a_failure_is_answered_too(name: str, arguments: dict[str, Any], text: str) -> None:
    """The model waits for its output without limit (PROTOCOL.md 5.1); it hears nothing of our insides."""
    answer = await told("elevenlabs", {"tool_call_id": "t1", "name": name, "args": arguments})
    assert answer["data"]["is_error"] is True
    assert text in answer["data"]["result"]
    assert "secret" not in answer["data"]["result"]


async def test_state_and_answer_are_saved_together() -> None:
    """A tool runs as a handler does."""
    async with AppClient(shop()) as client:
        await client.send("llm:tool-call", CALL)
        assert client.state == {"found": "A-77"}


async def test_a_handler_of_the_kind_gets_what_no_tool_takes() -> None:
    """And a handler of the toolHook's own path comes before both."""
    app, seen = shop(), list[str]()

    @app.on("llm:tool-call")
    async def other(call: Call, event: Event) -> None:
        seen.append(event.data["name"])

    @app.hook("/special")
    async def special(call: Call, event: Event) -> None:
        seen.append(event.hook)

    async with AppClient(app) as client:
        await client.send("llm:tool-call", {"tool_call_id": "t", "name": "other"})
        assert (await client.send("llm:tool-call", CALL)).commands
        await client.send("llm:tool-call", CALL, hook="/special")
    assert seen == ["other", "/special"]


@pytest.mark.parametrize(
    ("verbs", "vendor"),
    [
        ([], ""),
        ([{"verb": "say"}], ""),
        ([{"verb": "llm", "vendor": "google"}, {"verb": "hangup"}], "google"),
        ([{"llm": {"vendor": "openai"}}], "openai"),
        ([{"verb": "ultravox_s2s"}], "ultravox"),
        ([{"verb": "s2s", "vendor": "deepgram"}], "deepgram"),
        ([{"verb": "agent", "llm": {"vendor": "openai"}}], "agent"),
    ],
)
def test_the_vendor_is_read_from_the_verbs(verbs: list[dict[str, Any]], vendor: str) -> None:
    """Nothing in a tool call tells it."""
    assert vendor_in(verbs) == vendor


async def test_a_redirect_starts_a_model_too() -> None:
    """Its vendor is remembered with the call's facts, so that it survives a worker."""
    app = shop()

    @app.hook("/later")
    async def later(call: Call) -> None:
        call.redirect({"verb": "google_s2s"})

    async with AppClient(app) as client:
        await client.hook("/later")
        assert client.call.model_vendor == "google"
        assert client.call.facts["llm_vendor"] == "google"


def test_the_schema_describes_the_arguments() -> None:
    """For the verb, so that it is written once."""
    app = shop()
    schema = app.toolbox.tools["find_order"].schema
    assert schema["required"] == ["order_no"]
    assert schema["properties"]["limit"]["minimum"] == 1
    assert "call" not in schema["properties"]


def _any(value: Any) -> Any:
    """Return what a caller without type checks passes."""
    return value


class Opaque:
    """What no model can write."""


def _takes_what_json_is_not(it: Opaque) -> None:
    """Never called."""


def test_mistakes_are_told_when_a_tool_is_registered() -> None:
    """Not by the first caller."""
    app = shop()
    with pytest.raises(ValueError, match="is there already"):
        app.tool("slow")(lambda: None)
    with pytest.raises(ValueError, match="expected a tool's name"):
        tool_of("", lambda: None, 1)
    with pytest.raises(ValueError, match="positive timeout_s"):
        app.tool("x", timeout_s=0)
    with pytest.raises(TypeError, match="timeout_s in seconds, got '5'"):
        tool_of("x", lambda: None, _any("5"))
    with pytest.raises(TypeError, match=r"tool 'x': its arguments come as JSON, .*test_tools.Opaque"):
        tool_of("x", _takes_what_json_is_not, 1)
    with pytest.raises(TypeError, match="expected a function"):
        tool_of("x", 7, 1)
    with pytest.raises(TypeError, match="'rest'"):
        tool_of("x", lambda **rest: None, 1)
    with pytest.raises(TypeError, match=r"got function; write @app.tool\('name'\)"):
        app.tool(_any(lambda: None))
    with pytest.raises(TypeError, match="'call' is given as the first argument"):
        tool_of("x", lambda *, call: None, 1)
    with pytest.raises(TypeError, match="'call' is given as the first argument"):
        tool_of("x", lambda order_no, call: None, 1)
    for hidden in (lambda _order_no: None, lambda model_config: None):
        with pytest.raises(TypeError, match="pydantic keeps for itself"):
            tool_of("x", hidden, 1)
    with pytest.raises(ValueError, match="is there already"):
        app.toolbox.add(app.toolbox.tools["slow"])


def test_routers_bring_their_tools() -> None:
    """As their other handlers."""
    from jambonz_workers import Router

    router, app = Router(), App()

    @router.tool("colour")
    async def colour(name: Literal["red", "blue"]) -> str:
        return name

    app.include(router)
    assert list(app.toolbox.tools) == ["colour"]


async def test_vendor_of_an_early_answer_is_remembered() -> None:
    """`call.ack` starts the model as well as what a handler returns."""
    app = shop()

    @app.hook("/early")
    async def early(call: Call) -> None:
        await call.ack({"verb": "llm", "vendor": "google"})

    async with AppClient(app) as client:
        await client.hook("/early")
        asked = {"id": "t1", "name": "find_order", "args": {"order_no": "A-77"}}
        reaction = await client.send("llm:tool-call", {"tool_call_id": "t1", "function_calls": [asked]})
        assert "toolResponse" in reaction.commands[0]["data"]


async def test_vendor_of_a_model_is_known_without_tools() -> None:
    """A handler of the toolHook answers by itself."""
    app = App()

    @app.session("/")
    async def begin(call: Call) -> object:
        return {"verb": "llm", "vendor": "ultravox"}

    async with AppClient(app) as client:
        await client.session_new()
        assert client.call.model_vendor == "ultravox"


async def test_tool_that_fails_has_done_nothing() -> None:
    """The model hears that it failed, so nothing of it may have happened; of several at a time all stays."""
    app = App()

    @app.tool("book")
    async def book(call: Call, fails: bool) -> str:
        call.state["booked"] = True
        call.redirect({"verb": "say", "text": "Booked!"})
        if fails:
            raise RuntimeError
        return "booked"

    def asking(*fails: bool) -> dict[str, Any]:
        return {"function_calls": [{"id": "t", "name": "book", "args": {"fails": it}} for it in fails]}

    async with AppClient(app) as client:
        failed = await client.send("llm:tool-call", asking(True))
        assert [it["command"] for it in failed.commands] == ["llm:tool-output"]
        assert client.state == {}
        both = await client.send("llm:tool-call", asking(True, False))
        assert [it["command"] for it in both.commands] == ["redirect", "redirect", "llm:tool-output"]
        assert client.state == {"booked": True}


async def test_a_client_that_is_closed_leaves_the_tools_of_others_alone() -> None:
    """A test may play two calls of one app, such as the legs of a dial."""
    app = App()

    @app.tool("clock")
    def clock() -> str:
        return "noon"

    call = {"tool_call_id": "t1", "name": "clock", "args": {}}
    async with AppClient(app, call_sid="one") as one:
        async with AppClient(app, call_sid="two"):
            pass
        (frame,) = (await one.send("llm:tool-call", call)).commands
    assert frame["data"]["item"]["output"] == "noon"
    async with AppClient(app) as third, AppClient(app, call_sid="two") as other:
        for client in (third, other):
            (frame,) = (await client.send("llm:tool-call", call)).commands
            assert frame["data"]["item"]["output"] == "noon"

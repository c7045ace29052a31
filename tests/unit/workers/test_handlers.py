"""Handlers as applications write them: answers, commands, state, early acks, lifespan. Through AppClient."""

import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from jambonz_sdk import VerbBuilder  # type: ignore[import-untyped]

from jambonz_workers import App, Call, CallLost, Event, InvalidVerbs, OutcomeKind
from jambonz_workers.testing import AppClient, Reaction

SAY = {"verb": "say", "text": "Hi"}


async def test_a_session_and_its_hooks_answer_with_verbs() -> None:
    """The example of the design, played."""
    app = App()

    @app.session("/ivr")
    async def welcome(call: Call) -> object:
        return [SAY, {"verb": "gather", "actionHook": "/menu/1"}]

    @app.hook("/menu/{step}")
    async def menu(call: Call, event: Event) -> object:
        call.state["tries"] = call.state.get("tries", 0) + 1
        return VerbBuilder().say(text=f"{event.path_params['step']} {event.data['digits']}")

    async with AppClient(app) as client:
        assert (await client.session_new("/ivr")).verbs == [SAY, {"verb": "gather", "actionHook": "/menu/1"}]
        assert await client.hook("/menu/1", digits="3") == Reaction([{"verb": "say", "text": "1 3"}])
        await client.hook("/menu/1", digits="3")
        assert client.state == {"tries": 2}


async def test_a_call_knows_its_facts_and_status() -> None:
    """They come with session:new and last for the whole call."""
    app = App()
    app.on("call:status")(_quiet)
    app.on("session:new")(_quiet)
    async with AppClient(app) as client:
        facts = {"from": "+49", "account_sid": "ac", "application_sid": "ap", "env_vars": {"A": "1"}}
        await client.session_new(data=facts)
        await client.send("call:status", {"call_status": "in-progress"})
        call = client.call
        assert (call.from_, call.to, call.direction, call.status) == ("+49", "+15550002", "inbound", "in-progress")
        assert (call.account_sid, call.application_sid, call.parent_call_sid) == ("ac", "ap", "")
        assert call.env_vars == {"A": "1"}
        assert call.facts["from"] == "+49"
        with pytest.raises(TypeError):
            call.env_vars["A"] = 2  # type: ignore[index]


async def test_a_redirect_may_be_left_unanswered() -> None:
    """Its ack is one without data; a test sees no verbs, as with any hook."""
    app = App()
    app.hook("/next")(_quiet)
    async with AppClient(app) as client:
        assert await client.send("session:redirect", hook="/next") == Reaction([])


async def _quiet(call: Call) -> None:
    """Do nothing."""


async def test_commands_of_a_handler_follow_its_ack() -> None:
    """In the order they were given; each is queued until the commit."""
    app = App()
    kinds: list[OutcomeKind] = []

    @app.hook("/a")
    async def hook(call: Call) -> object:
        kinds.append((await call.mute()).kind)
        call.dtmf("5")
        return SAY

    async with AppClient(app) as client:
        reaction = await client.hook("/a")
    assert reaction.verbs == [SAY]
    assert [frame["command"] for frame in reaction.commands] == ["mute:status", "dtmf"]
    assert kinds == [OutcomeKind.QUEUED]


async def test_every_command_has_the_calls_own_leg() -> None:
    """And another one where it is given."""
    app = App()

    @app.on("call:status")
    async def act(call: Call) -> None:
        call.command("boostAudioSignal", "+6 dB", leg="b")
        call.redirect(SAY)
        call.redirect_hook("/x")
        call.hangup()
        call.mute()
        call.unmute("b")
        call.whisper(SAY)
        call.dtmf("1")
        call.record("start", recording_id="r")
        call.listen_pause()
        call.listen_resume()
        call.sip_request("INFO")
        call.tool_output("t", {})
        call.llm_update({"a": 1})
        call.config(notifyEvents=True)
        call.tts_tokens("Hi")
        call.tts_flush()
        call.tts_clear()

    async with AppClient(app) as client:
        frames = (await client.send("call:status")).commands
    assert [(frame["command"], frame["callSid"]) for frame in frames] == [
        ("boostAudioSignal", "b"),
        ("redirect", "test-call"),
        ("redirect", "test-call"),
        ("call:status", "test-call"),
        ("mute:status", "test-call"),
        ("mute:status", "b"),
        ("whisper", "test-call"),
        ("dtmf", "test-call"),
        ("record", "test-call"),
        ("listen:status", "test-call"),
        ("listen:status", "test-call"),
        ("sip:request", "test-call"),
        ("llm:tool-output", "test-call"),
        ("llm:update", "test-call"),
        ("config", "test-call"),
        ("tts:tokens", "test-call"),
        ("tts:flush", "test-call"),
        ("tts:clear", "test-call"),
    ]


async def test_a_call_can_close_its_websocket() -> None:
    """With any code a websocket has."""
    app = App()

    @app.hook("/close")
    async def hook(call: Call) -> object:
        call.close(1012)
        with pytest.raises(ValueError, match="1000 to 4999"):
            call.close(99)
        return None

    async with AppClient(app) as client:
        assert (await client.hook("/close")).verbs == []
        assert client.closed == [1012]


async def test_verbs_of_a_notice_are_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Jambonz would take no notice of them; once per kind is enough to say so."""
    app = App()

    @app.on("call:status")
    async def status(call: Call) -> object:
        return SAY

    async with AppClient(app) as client:
        assert await client.send("call:status") == Reaction(None)
        await client.send("call:status")
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("what", ["command", "state", "work"])
async def test_what_a_handler_does_behind_its_ack_takes_effect(what: str) -> None:
    """Whichever it is, and alone: the ack has taken with it only what came before."""
    app, done = App(), list[str]()

    async def work() -> None:
        done.append("work")

    @app.hook("/menu")
    async def menu(call: Call) -> None:
        await call.ack(SAY)
        if what == "command":
            await call.dtmf("1")
        elif what == "state":
            call.state["tries"] = 1
        else:
            call.spawn(work())

    async with AppClient(app) as client:
        reaction = await client.hook("/menu")
        await client.settle()
        found = ([it["command"] for it in reaction.commands], client.state, done)
    assert found == {"command": (["dtmf"], {}, []), "state": ([], {"tries": 1}, []), "work": ([], {}, ["work"])}[what]


async def test_an_early_ack_of_a_call_that_is_another_workers_raises() -> None:
    """What the handler would do next, believing that the caller hears something, is for the new owner to do."""
    app, raised = App(), list[BaseException]()

    @app.hook("/menu")
    async def menu(call: Call) -> None:
        call.release(CallLost(call.sid, "w2"))
        try:
            await call.ack(SAY)
        except CallLost as error:
            raised.append(error)

    async with AppClient(app) as client:
        with contextlib.suppress(Exception):
            await client.hook("/menu")
    assert [str(error) for error in raised] == [str(CallLost(client.call.sid, "w2"))]


async def test_an_unknown_hook_is_acked_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Jambonz must not wait; the operator must know."""
    async with AppClient(App()) as client:
        for hook in ("/nobody", "/nobody", "/else"):
            assert (await client.hook(hook)).verbs == []
        assert await client.send("call:status") == Reaction(None)
    assert [record.__dict__["hook"] for record in caplog.records] == ["/nobody", "/else"]


async def test_what_is_told_of_a_hook_is_its_path_and_not_all_of_it(caplog: pytest.LogCaptureFixture) -> None:
    """P9: 1,000 hooks of 1 MB were 1 GB of what was warned of, and their queries are callers' data."""
    async with AppClient(App()) as client:
        for pin in (1234, 5678):
            await client.hook(f"/{'x' * 100_000}?pin={pin}")
    assert [record.__dict__["hook"] for record in caplog.records] == ["/" + "x" * 199]


async def test_a_plain_function_runs_in_a_thread() -> None:
    """It may block, and still give commands."""
    app = App()
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")
    seen: list[str] = []

    @app.hook("/a")
    def hook(call: Call, event: Event) -> object:
        seen.append(variable.get())
        call.state["digits"] = event.data["digits"]
        call.mute()
        return SAY

    variable.set("set by a caller")
    async with AppClient(app) as client:
        reaction = await client.hook("/a", digits="1")
        assert (reaction.verbs, len(reaction.commands)) == ([SAY], 1)
        assert client.state == {"digits": "1"}
    assert seen == ["set by a caller"]


async def test_an_early_ack_sends_what_was_done_so_far() -> None:
    """What comes afterwards is sent at the end."""
    app = App()
    client = AppClient(app)
    seen: list[Any] = []

    @app.hook("/a")
    async def hook(call: Call) -> object:
        call.state["step"] = 1
        call.mute()
        await call.ack(SAY)
        seen.append((client.state, len(client.commands)))
        call.state["step"] = 2
        call.unmute()
        return None

    async with client:
        reaction = await client.hook("/a")
        assert reaction.verbs == [SAY]
        assert [frame["data"]["mute_status"] for frame in reaction.commands] == ["mute", "unmute"]
        assert client.state == {"step": 2}
    assert seen == [({"step": 1}, 1)]


async def test_an_early_ack_is_given_once_and_only_to_hooks() -> None:
    """A second answer would be dropped by jambonz without a word."""
    app = App()
    texts: list[str] = []

    @app.hook("/a")
    async def hook(call: Call) -> object:
        await call.ack()
        with pytest.raises(RuntimeError, match="'/a' is answered already") as caught:
            await call.ack()
        texts.append(str(caught.value))
        return SAY

    @app.on("call:status")
    async def status(call: Call) -> None:
        with pytest.raises(RuntimeError, match="there is none here"):
            await call.ack()

    async with AppClient(app) as client:
        assert (await client.hook("/a")).verbs == []
        await client.send("call:status")
    assert len(texts) == 1


@pytest.mark.parametrize("has_error_handler", [True, False])
async def test_a_handler_that_fails_after_its_early_ack_keeps_what_was_acked(
    has_error_handler: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest is forgotten, and there is no second answer."""
    app = App()
    seen: list[Exception] = []

    @app.session("/")
    async def start(call: Call) -> object:
        call.state["acked"] = True
        await call.ack(SAY)
        call.state["lost"] = True
        call.mute()
        raise RuntimeError("broken")

    async def failed(call: Call, event: Event, error: Exception) -> None:
        seen.append(error)

    if has_error_handler:
        app.on_error(failed)
    async with AppClient(app, raises=False) as client:
        assert await client.session_new() == Reaction([SAY])
        assert client.state == {"acked": True}
    assert len(seen) == int(has_error_handler)
    assert [record.message for record in caplog.records] == ([] if has_error_handler else ["handler failed"])


async def test_a_deleted_field_is_gone() -> None:
    """In what is saved, too."""
    app = App()

    @app.hook("/a")
    async def hook(call: Call) -> None:
        call.state["a"] = 1

    @app.hook("/b")
    async def other(call: Call) -> None:
        del call.state["a"]

    async with AppClient(app) as client:
        await client.hook("/a")
        assert client.state == {"a": 1}
        await client.hook("/b")
        assert client.state == {}


async def test_the_lifespan_surrounds_the_app() -> None:
    """It opens what handlers need."""
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(app: App) -> AsyncIterator[None]:
        seen.append(f"open {app.name}")
        yield
        seen.append("close")

    async with AppClient(App("shop", lifespan=lifespan)):
        seen.append("calls")
    assert seen == ["open shop", "calls", "close"]


async def test_an_end_handler_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The call ends all the same."""
    app = App()

    @app.on_end
    async def ended(call: Call) -> None:
        raise RuntimeError("broken")

    async with AppClient(app, raises=False) as client:
        await client.end()
    assert [record.message for record in caplog.records] == ["end handler failed"]


@pytest.mark.parametrize("verbs", [[], (), VerbBuilder()], ids=["list", "tuple", "builder"])
async def test_inbound_call_without_verbs_is_held(verbs: object, caplog: pytest.LogCaptureFixture) -> None:
    """jambonz rejects an empty application: 480, no application provided (PROTOCOL.md 2.4)."""
    app = App()

    @app.session("/")
    async def begin(call: Call) -> object:
        return verbs

    async with AppClient(app) as client:
        assert (await client.session_new()).verbs == [{"verb": "pause", "length": 30}]
        assert (await client.send("session:new", {"direction": "outbound"})).verbs == []
    assert [record.message for record in caplog.records] == [
        "an inbound call gets no verbs; held, or jambonz rejects it"
    ]


@pytest.mark.parametrize("where", ["returned", "acked", "redirected"])
async def test_builder_is_asked_for_its_verbs_once(where: str) -> None:
    """That of jambonz-python-sdk is empty then, and checks look at the verbs before they are sent."""
    app = App(validate_verbs=True, target="0.9")

    @app.tool("any")
    async def tool() -> None: ...

    @app.hook("/a")
    async def hook(call: Call) -> object:
        verbs = VerbBuilder().say(text="Hi")
        if where == "returned":
            return verbs
        if where == "acked":
            await call.ack(verbs)
        else:
            call.redirect(verbs)
        return None

    async with AppClient(app) as client:
        reaction = await client.hook("/a")
        said = reaction.commands[0]["data"] if where == "redirected" else reaction.verbs
        assert said == [SAY]


async def test_handler_may_take_all_its_arguments_as_they_come() -> None:
    """What a decorator without functools.wraps makes of it."""
    app = App()

    async def any_of_them(*arguments: Any) -> object:
        return {"verb": "say", "text": type(arguments[1]).__name__}

    app.hook("/any")(any_of_them)
    async with AppClient(app) as client:
        assert (await client.hook("/any")).verbs == [{"verb": "say", "text": "Event"}]


async def test_builder_that_is_checked_is_checked_whole() -> None:
    """By target and schemas both."""
    async with AppClient(App(validate_verbs=True, target="0.9")) as client:
        with pytest.raises(InvalidVerbs):
            client.call.check_verbs(iter([{"verb": "gather", "numDigits": "two"}]))

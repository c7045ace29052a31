"""The layer for applications of the SDK: its session with wire shapes that jambonz accepts."""

import asyncio
from typing import Any

import pytest

from jambonz_workers.contrib.sdk import Services, Session
from jambonz_workers.testing import AppClient


def seen_by(services: Services) -> tuple[list[Session], list[tuple[Any, ...]]]:
    sessions, events = list[Session](), list[tuple[Any, ...]]()

    async def begin(session: Session) -> None:
        sessions.append(session)
        for event in ("/hook", "verb:hook", "call:status", "tts:user_interruption", "tts:streaming-event", "close"):
            session.on(event, lambda *args, event=event: events.append((event, *args)))
        session.say(text="Hello")
        await session.send()

    services(path="/sdk").on("session:new", begin).on("session:redirect", begin_again)
    return sessions, events


async def begin_again(session: Session) -> None:
    session.hangup()
    await session.reply()


async def test_commands_have_the_shapes_that_jambonz_accepts() -> None:
    """Some of the SDK's own are ignored or refused (PROTOCOL.md 3.5)."""
    services = Services()
    sessions, _ = seen_by(services)
    async with AppClient(services.app, path="/sdk") as client:
        assert (await client.session_new()).verbs == [{"verb": "say", "text": "Hello"}]
        session = sessions[0]
        await session.inject_mute("mute")
        await session.inject_dtmf("1")
        await session.inject_noise_isolation("on", {"level": 3})
        await session.inject_record("startCallRecording", {"siprecServerURL": "sip:x"})
        await session.inject_whisper({"verb": "say", "text": "psst"})
        await session.inject_redirect("/next")
        await session.send_tts_tokens("Hi ")
        await session.flush_tts_tokens()
        await session.clear_tts_tokens()
        await session.update_agent({"type": "generate_reply"})
        await session.tool_output("t1", "shipped")
        await session.tool_output("t2", {"result": 1})
        assert [(it["command"], it.get("data")) for it in client.commands] == [
            ("mute:status", {"mute_status": "mute"}),
            ("dtmf", {"dtmf": {"digit": "1"}}),
            ("noiseIsolation:status", {"noise_isolation_status": "enable", "level": 3}),
            ("record", {"action": "startCallRecording", "siprecServerURL": "sip:x"}),
            ("whisper", {"whisper": {"verb": "say", "text": "psst"}}),
            ("redirect", {"call_hook": "/next"}),
            ("tts:tokens", {"id": 1, "tokens": "Hi "}),
            ("tts:flush", None),
            ("tts:clear", None),
            ("agent:update", {"type": "generate_reply"}),
            (
                "llm:tool-output",
                {
                    "type": "conversation.item.create",
                    "item": {"type": "function_call_output", "call_id": "t1", "output": "shipped"},
                },
            ),
            ("llm:tool-output", {"result": 1}),
        ]
        assert all(it["callSid"] == "test-call" for it in client.commands)


async def test_events_reach_the_handlers_of_the_session() -> None:
    """A hook without one is answered with an empty list."""
    services = Services()
    sessions, events = seen_by(services)
    async with AppClient(services.app, path="/sdk") as client:
        await client.session_new()
        assert (await client.hook("/hook", digits="1")).verbs == []
        await client.hook("/other")
        await client.send("call:status", {"call_status": "in-progress"})
        await client.send("tts:streaming-event", {"event_type": "user_interruption"})
        assert (await client.send("session:redirect", hook="/x")).verbs == [{"verb": "hangup"}]
        await client.end()
    assert [event[0] for event in events] == [
        "/hook",
        "verb:hook",
        "call:status",
        "tts:user_interruption",
        "tts:streaming-event",
        "close",
    ]
    assert sessions[0].call_sid == "test-call"


async def test_a_late_reply_replaces_the_application() -> None:
    """From a task of the application, when the hook has had its answer."""
    services = Services()
    sessions, _ = seen_by(services)
    async with AppClient(services.app, path="/sdk") as client:
        await client.session_new()
        await sessions[0].reply()
        sessions[0].hangup()
        await sessions[0].reply()
        assert [(it["command"], it["data"]) for it in client.commands] == [("redirect", [{"verb": "hangup"}])]


async def test_a_handler_may_speak_to_another_call() -> None:
    """Its own hook is not answered by that."""
    services = Services()
    sessions = dict[str, Session]()

    async def begin(session: Session) -> None:
        async def on_tell(event: dict[str, Any]) -> None:
            other = sessions[event["other"]]
            other.say(text="Somebody thinks of you")
            session.say(text="I tell them")
            await other.reply()
            await session.reply()

        sessions[session.call_sid] = session
        session.on("/tell", on_tell)
        session.say(text="Hello")
        await session.send()

    services(path="/sdk").on("session:new", begin)
    async with (
        AppClient(services.app, path="/sdk", call_sid="one") as one,
        AppClient(services.app, path="/sdk", call_sid="two") as two,
    ):
        await one.session_new()
        await two.session_new()
        assert (await one.hook("/tell", other="two")).verbs == [{"verb": "say", "text": "I tell them"}]
        assert one.commands == []
        assert [it["data"] for it in two.commands] == [[{"verb": "say", "text": "Somebody thinks of you"}]]


async def test_a_call_taken_over_gets_its_handlers_again() -> None:
    """The session:new handler runs once more, and what it sends is left out."""
    services = Services()
    sessions, events = seen_by(services)
    async with AppClient(services.app, path="/sdk") as client:
        assert (await client.hook("/hook")).verbs == []
        await client.hook("/hook")
        await client.send("verb:status")
    assert len(sessions) == 1
    assert [event[0] for event in events] == ["/hook", "/hook"]
    assert not sessions[0].is_resumed


async def test_a_session_goes_on_when_its_handler_fails_after_a_takeover(caplog: pytest.LogCaptureFixture) -> None:
    """What it has registered stays; what it has built is left out. It was mute for the rest of the call."""
    services = Services()

    async def begin(session: Session) -> None:
        async def on_menu(_: dict[str, Any]) -> None:
            session.say(text="Menu")
            await session.reply()
            await session.inject_redirect("/next")

        session.on("/menu", on_menu)
        session.say(text="Hello")
        assert session.data["sip"], "which only session:new carries"

    services(path="/sdk").on("session:new", begin)
    async with AppClient(services.app, path="/sdk") as client:
        for _ in range(2):
            reaction = await client.hook("/menu")
            assert reaction.verbs == [{"verb": "say", "text": "Menu"}]
            assert [it["command"] for it in reaction.commands] == ["redirect"]
    assert [record.getMessage() for record in caplog.records] == ["session:new handler failed for a call taken over"]


async def test_a_handler_that_failed_before_it_registered_any_runs_again_with_the_next_event() -> None:
    """After a takeover: what it needs, such as a database, may be there by then."""
    services, runs = Services(), list[Session]()

    async def begin(session: Session) -> None:
        runs.append(session)
        if len(runs) == 1:
            raise OSError("no database")
        session.on("/hook", lambda _: session.say(text="Menu").reply())

    services(path="/sdk").on("session:new", begin)
    async with AppClient(services.app, path="/sdk") as client:
        answers = [(await client.hook("/hook")).verbs for _ in range(3)]
    assert answers == [[], [{"verb": "say", "text": "Menu"}], [{"verb": "say", "text": "Menu"}]]
    assert len(runs) == 2


async def test_a_caller_taken_over_is_not_greeted_again_by_a_task_of_the_handler() -> None:
    """It answers after its handler has returned, while a hook may be handled that builds verbs, too."""
    services, tasks, may_greet = Services(), list[asyncio.Task[None]](), asyncio.Event()

    async def greet(session: Session) -> None:
        await may_greet.wait()
        session.say(text="Hello")
        assert session.is_resumed
        await session.send()
        await session.inject_mute("mute")

    async def begin(session: Session) -> None:
        async def on_menu(_: dict[str, Any]) -> None:
            session.say(text="Menu")
            may_greet.set()
            await asyncio.gather(*tasks)
            await session.reply()

        session.on("/menu", on_menu)
        tasks.append(asyncio.create_task(greet(session)))

    services(path="/sdk").on("session:new", begin)
    async with AppClient(services.app, path="/sdk") as client:
        assert (await client.hook("/menu")).verbs == [{"verb": "say", "text": "Menu"}]
        assert client.commands == []


async def test_a_failure_is_told_to_session_and_service_which_may_answer() -> None:
    """As by the SDK itself; the hook got an empty answer, and nobody was told."""
    services, told = Services(), list[tuple[str, str]]()

    async def begin(session: Session) -> None:
        async def fail(_: dict[str, Any]) -> None:
            raise ValueError("boom")

        async def on_error(error: Exception) -> None:
            told.append(("session", str(error)))
            session.say(text="Sorry").hangup()
            await session.reply()

        session.on("/menu", fail)
        session.on("error", on_error)
        session.say(text="Hello")
        await session.send()

    service = services(path="/sdk")
    service.on("session:new", begin)
    service.on("error", lambda error: told.append(("service", str(error))))
    async with AppClient(services.app, path="/sdk", raises=False) as client:
        await client.session_new()
        assert (await client.hook("/menu")).verbs == [{"verb": "say", "text": "Sorry"}, {"verb": "hangup"}]
    assert told == [("session", "boom"), ("service", "boom")]


FIND = {"tool_call_id": "t1", "name": "find_order", "args": {}}
BOTH = [{"id": "f1", "name": "find_order", "args": {}}, {"id": "f2", "name": "find_customer", "args": {}}]


@pytest.mark.parametrize(
    ("vendor", "asked", "answers"),
    [
        pytest.param(
            "deepgram",
            FIND,
            {"data": {"type": "FunctionCallResponse", "id": "t1", "name": "find_order", "content": "shipped"}},
            id="deepgram",
        ),
        pytest.param(
            "google",
            {"tool_call_id": "t1", "type": "toolCall", "function_calls": BOTH},
            {
                "toolResponse": {
                    "functionResponses": [
                        {"id": "f1", "name": "find_order", "response": {"result": "shipped"}},
                        {"id": "f2", "name": "find_customer", "response": {"result": "shipped"}},
                    ]
                }
            },
            id="google",
        ),
    ],
)
async def test_a_plain_output_names_the_tool_that_was_asked_for(
    vendor: str, asked: dict[str, Any], answers: dict[str, Any]
) -> None:
    """These vendors want it back, with google's own ids (PROTOCOL.md 5.1)."""
    services = Services()

    async def begin(session: Session) -> None:
        session.on("llm:tool-call", lambda event: session.tool_output(event["tool_call_id"], "shipped"))
        session.llm(vendor=vendor, model="m", auth={"apiKey": "k"}, llmOptions={}, toolHook="/tools")
        await session.send()

    services(path="/sdk").on("session:new", begin)
    async with AppClient(services.app, path="/sdk") as client:
        await client.session_new()
        (command,) = (await client.send("llm:tool-call", asked, hook="/tools")).commands
        assert (command["tool_call_id"], command["data"]) == ("t1", answers)


async def test_an_unknown_path_is_declined_and_audio_is_not_served() -> None:
    """The cluster carries call control."""
    services = Services()
    async with AppClient(services.app, path="/x") as client:
        assert (await client.session_new()).verbs == [{"verb": "sip:decline", "status": 404}]
        assert (await client.hook("/hook")).verbs == []
    with pytest.raises(NotImplementedError):
        services.audio(path="/audio")

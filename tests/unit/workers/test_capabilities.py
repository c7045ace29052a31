"""What the target of an app lacks is refused before it is sent."""

import inspect
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from jambonz_workers import App, Call, Unsupported, controls
from jambonz_workers.capabilities import COMMANDS, check_verbs
from jambonz_workers.controls import Controls
from jambonz_workers.testing import AppClient

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "commands.md"


def test_every_command_has_methods_that_exist() -> None:
    """The table of commands is what the reference is tested against."""
    for fact in COMMANDS.values():
        for method in fact.methods:
            assert callable(getattr(Call, method)), method
    named = {method for fact in COMMANDS.values() for method in fact.methods}
    methods = {name for name, value in vars(Controls).items() if callable(value) and not name.startswith("_")}
    assert methods - named == {"check_verbs", "command", "close"}


def test_the_reference_has_a_row_for_each_command_and_no_other() -> None:
    """With its methods, its state, and the lines of jambonz that know it."""
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \| (.*) \| (.*) \| (.*) \|$", REFERENCE.read_text(), re.MULTILINE)
    assert {row[0]: row[1:] for row in rows} == {
        fact.name: (
            ", ".join(f"`{method}`" for method in fact.methods),
            fact.when,
            "yes" if fact.has_leg else "no",
            "10+" if fact.is_commercial else "0.9, 10+",
        )
        for fact in COMMANDS.values()
    }


def test_the_reference_calls_each_method_as_it_is() -> None:
    """Who writes an application has this page, not the source; a wrong name of an argument is a TypeError in a call."""
    rows = re.findall(r"^\| (`\w+\(.*\)`) \| .* \|$", REFERENCE.read_text(), re.MULTILINE)
    written = {name: arguments for row in rows for name, arguments in re.findall(r"`(\w+)\((.*?)\)`", row)}
    assert written.keys() == {method for fact in COMMANDS.values() for method in fact.methods}
    for name, arguments in written.items():
        _, *parameters = inspect.signature(getattr(Call, name)).parameters.values()
        names = [("**" if it.kind is it.VAR_KEYWORD else "") + it.name for it in parameters]
        assert [it.split("=")[0] for it in arguments.split(", ") if it not in ("", "*")] == names, name


async def test_verbs_the_target_lacks_are_refused_in_every_command() -> None:
    """Whosever application they become."""
    app = App(target="0.9")

    @app.hook("/x")
    async def hook(call: Call) -> object:
        for send in (call.redirect, call.redirect_parent, call.whisper):
            with pytest.raises(Unsupported, match="verb 'agent'"):
                send([{"verb": "agent"}])
        return {"verb": "hangup"}

    async with AppClient(app) as client:
        reaction = await client.hook("/x")
    assert (reaction.verbs, reaction.commands) == ([{"verb": "hangup"}], [])


async def test_commands_the_target_lacks_are_refused() -> None:
    """jambonz 0.9 would ignore them without a word."""
    app = App(target="0.9")

    @app.hook("/x")
    async def hook(call: Call) -> object:
        with pytest.raises(Unsupported, match="command 'agent:update'") as caught:
            call.agent_update("update_instructions", instructions="Be brief")
        assert (caught.value.name, caught.value.target) == ("agent:update", "0.9")
        with pytest.raises(Unsupported, match="verb 'transfer'"):
            call.redirect({"verb": "transfer"})
        call.redirect({"verb": "hangup"})
        return {"agent": {}}

    async with AppClient(app, raises=False) as client:
        reaction = await client.hook("/x")
    assert reaction.verbs == [], "the verbs of an answer are looked at, too"
    assert reaction.commands == []


async def test_without_a_target_everything_is_sent_and_the_unknown_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing tells the version of a jambonz, and a newer one may know it."""
    monkeypatch.setattr(controls, "_warned", set())
    app = App()

    @app.hook("/x")
    async def hook(call: Call) -> object:
        call.agent_update("generate_reply")
        for _ in range(2):
            call.command("sing", {"song": 1})
        return {"verb": "agent"}

    with caplog.at_level(logging.WARNING):
        async with AppClient(app) as client:
            reaction = await client.hook("/x")
    assert [it["command"] for it in reaction.commands] == ["agent:update", "sing", "sing"]
    assert reaction.verbs == [{"verb": "agent"}]
    assert [record.message for record in caplog.records if "not known" in record.message] == [caplog.messages[0]]


def test_properties_the_target_lacks_are_refused() -> None:
    """0.9 refuses the whole application with them (pitfall 21)."""
    with pytest.raises(Unsupported, match=r"property 'dial\.codecs'"):
        check_verbs([{"verb": "dial", "codecs": ["PCMU"]}], "0.9")
    with pytest.raises(Unsupported, match=r"property 'dial\.codecs'"):
        check_verbs([{"dial": {"codecs": ["PCMU"]}}], "0.9")
    check_verbs([{"verb": "dial", "codecs": ["PCMU"]}], "10+")
    check_verbs([{"verb": "dial"}, {"verb": "say"}], "0.9")


def test_a_target_must_exist() -> None:
    """A typing error must not switch the checks off."""
    with pytest.raises(ValueError, match="expected target"):
        App(target="0.8")  # type: ignore[arg-type]


def test_a_synthesizer_that_would_be_ignored_is_refused() -> None:
    """0.9 takes that of the config itself (pitfall 44)."""
    config = {"verb": "config", "ttsStream": {"enable": True, "synthesizer": {"vendor": "x"}}}
    with pytest.raises(Unsupported, match="synthesizer"):
        check_verbs([config], "0.9")
    check_verbs([config], "10+")
    check_verbs([{"verb": "config", "ttsStream": {"enable": True}, "synthesizer": {"vendor": "x"}}], "0.9")


async def test_a_play_that_would_be_left_out_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The callee would hear nothing (pitfall 42)."""
    app = App()

    @app.hook("/screen")
    async def screen(call: Call) -> object:
        return [{"verb": "say", "text": "Hi"}, {"verb": "play", "url": "a.wav"}]

    with caplog.at_level(logging.WARNING):
        async with AppClient(app) as client:
            await client.send("dial:confirm", hook="/screen")
    assert [it for it in caplog.messages if "leaves out `play`" in it]


# What no simulator knows: the commercial line's commands, and the shapes of those that others test in a call.
COMMERCIAL: list[tuple[str, Callable[[Call], object], object]] = [
    ("tag", lambda call: call.tag(crm="42"), {"crm": "42"}),
    ("noiseIsolation:status", lambda call: call.noise_isolation("enable"), {"noise_isolation_status": "enable"}),
    ("stt:reconfigure", lambda call: call.stt_reconfigure(["en", "es"]), {"languageHints": ["en", "es"]}),
    ("stt:reconfigure", lambda call: call.stt_reconfigure([]), {"languageHints": []}),
    ("room:say", lambda call: call.room_say(text="Hello"), {"text": "Hello"}),
    ("room:play", lambda call: call.room_play(url="a.wav"), {"url": "a.wav"}),
    (
        "agent:update",
        lambda call: call.agent_update("inject_context", messages=[]),
        {"type": "inject_context", "messages": []},
    ),
]


@pytest.mark.parametrize(("name", "send", "data"), COMMERCIAL, ids=[f"{it[0]}-{i}" for i, it in enumerate(COMMERCIAL)])
async def test_commercial_commands_have_their_shapes(name: str, send: Callable[[Call], object], data: object) -> None:
    """PROTOCOL.md 3.4."""
    async with AppClient(App(target="10+")) as client:
        send(client.call)
    assert client.commands == [{"type": "command", "command": name, "callSid": "test-call", "data": data}]


def test_every_commercial_command_is_tested() -> None:
    """A new row of the table needs a row here."""
    assert {it[0] for it in COMMERCIAL} == {fact.name for fact in COMMANDS.values() if fact.is_commercial}

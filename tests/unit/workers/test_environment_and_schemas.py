"""Environment variables as declared, and verbs checked against jambonz's own schemas."""

import logging
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from jambonz_sdk import VerbBuilder  # type: ignore[import-untyped]

from jambonz_shared.errors import ClusterError
from jambonz_workers import App, Call, InvalidVerbs, verb_schemas
from jambonz_workers.environment import typed
from jambonz_workers.testing import AppClient
from jambonz_workers.verb_schemas import check_schemas

DECLARED: dict[str, dict[str, Any]] = {
    "GREETING": {"type": "string", "description": "What to say first", "default": "hello"},
    "MAX_TRIES": {"type": "number", "description": "Attempts", "default": 3},
    "RATE": {"type": "number", "description": "Share"},
    "OPEN": {"type": "boolean", "description": "Whether somebody is there"},
}


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({}, {"GREETING": "hello", "MAX_TRIES": 3}),
        ({"MAX_TRIES": "5", "RATE": "0.5", "OPEN": "True"}, {"MAX_TRIES": 5, "RATE": 0.5, "OPEN": True}),
        ({"MAX_TRIES": 7, "OPEN": False}, {"MAX_TRIES": 7, "OPEN": False}),
        ({"MAX_TRIES": "many", "OPEN": "perhaps"}, {"MAX_TRIES": "many", "OPEN": "perhaps"}),
        ({"GREETING": 7, "OTHER": "7"}, {"GREETING": "7", "OTHER": "7"}),
    ],
)
def test_values_have_their_declared_types(given: dict[str, Any], values: dict[str, Any]) -> None:
    """The portal keeps texts."""
    found = typed(DECLARED, given)
    assert {name: found[name] for name in values} == values


async def test_a_call_knows_its_environment() -> None:
    """For its whole life; only session:new carries it."""
    app = App(env=DECLARED)

    @app.session("/ivr")
    async def welcome(call: Call) -> object:
        return {"verb": "pause"}

    async with AppClient(app) as client:
        await client.session_new("/ivr", env_vars={"MAX_TRIES": "5"})
        assert client.call.env == {"GREETING": "hello", "MAX_TRIES": 5}
        assert client.call.env_vars == {"MAX_TRIES": "5"}


def test_good_verbs_pass() -> None:
    """In both of their forms; some of 0.9 have no schema."""
    check_schemas([{"verb": "say", "text": "Hi"}, {"say": {"text": "Hi"}}, {"verb": "lex"}])


def test_mistakes_are_told_with_their_place() -> None:
    """All of them at once."""
    with pytest.raises(InvalidVerbs) as caught:
        check_schemas([{"verb": "say", "text": "Hi"}, {"verb": "gather", "numDigits": "x"}, {"verb": "sing"}])
    assert caught.value.errors == [
        "verb 2 (gather): numDigits: 'x' is not of type 'number'",
        "verb 3 (sing): unknown verb: sing",
    ]


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        pytest.param(
            {"verb": "say", "txt": "Hi"}, "verb 1 (say): unknown property 'txt'; was 'text' meant?", id="text"
        ),
        pytest.param(
            {"gather": {"input": ["digits"], "action_hook": "/menu"}},
            "verb 1 (gather): unknown property 'action_hook'; was 'actionHook' meant?",
            id="as_in_python",
        ),
        pytest.param(
            {"verb": "gather", "say": {"txt": "Hi"}},
            "verb 1 (gather): say: unknown property 'txt'; was 'text' meant?",
            id="prompt",
        ),
        pytest.param(
            {"verb": "dial", "target": [{"type": "phone", "nubmer": "+15550001"}]},
            "verb 1 (dial): target/0: unknown property 'nubmer'; was 'number' meant?",
            id="member_of_a_list",
        ),
        pytest.param(
            {
                "verb": "dial",
                "target": [{"type": "user", "name": "x"}],
                "listen": {"url": "wss://x", "mixtype": "mono"},
            },
            "verb 1 (dial): listen: unknown property 'mixtype'; was 'mixType' meant?",
            id="listen_of_a_dial",
        ),
        pytest.param(
            {"verb": "config", "recognizer": {"vendor": "google", "langauge": "en-US"}},
            "verb 1 (config): recognizer: unknown property 'langauge'; was 'language' meant?",
            id="part_with_a_schema_of_its_own",
        ),
        pytest.param(
            {"verb": "openai_s2s", "llmOptions": {}, "tool_hook": "/tool"},
            "verb 1 (openai_s2s): unknown property 'tool_hook'; was 'toolHook' meant?",
            id="model",
        ),
        pytest.param(
            {"verb": "gather", "actionHookDelayAction": {"actions": [{"verb": "say", "txt": "Hi"}]}},
            "verb 1 (gather): actionHookDelayAction/actions/0: unknown property 'txt'; was 'text' meant?",
            id="verb_in_a_list",
        ),
    ],
)
def test_a_misspelt_property_is_told(verb: dict[str, Any], text: str) -> None:
    """jambonz refuses the whole application for it (pitfall 21), and the schemas let it pass."""
    with pytest.raises(InvalidVerbs) as caught:
        check_schemas([verb])
    assert str(caught.value) == text


def test_a_property_unlike_all_others_passes() -> None:
    """A newer jambonz may have it."""
    check_schemas([{"verb": "say", "text": "Hi", "warmth": 3}, {"verb": "s2s", "vendor": "v", "llmOptions": {}}])
    # What has no schema, or is of 0.9 only.
    check_schemas([{"verb": "dial", "target": [{"type": "user", "name": "x"}], "headers": {"X-Txt": "1", "txt": "2"}}])
    check_schemas([{"verb": "llm", "vendor": "openai", "llmOptions": {"sesion": {"verb": "say", "txt": "x"}}}])
    check_schemas([{"verb": "gather", "recognizer": {"vendor": "x", "nuanceOptions": {}, "verbioOptions": {}}}])


@pytest.mark.parametrize(
    ("verb", "hook", "path"),
    [
        pytest.param({"verb": "gather", "actionHook": "/menuu"}, "/menuu", "/menu", id="letter"),
        pytest.param({"verb": "redirect", "actionHook": {"url": "menue?x=1"}}, "menue?x=1", "/menu", id="object"),
        pytest.param(
            {"verb": "config", "bargeIn": {"enable": True, "actionHook": "/baarge"}}, "/baarge", "/barge", id="nested"
        ),
    ],
)
async def test_a_misspelt_action_hook_is_told(verb: dict[str, Any], hook: str, path: str) -> None:
    """Its caller would hear silence: nobody answers it."""
    app = app_with_hooks()

    @app.hook("/start")
    async def start(call: Call) -> object:
        return verb

    async with AppClient(app) as client:
        with pytest.raises(InvalidVerbs) as caught:
            await client.hook("/start")
    assert caught.value.errors == [f"no handler of the actionHook {hook!r}; was {path!r} meant?"]


async def test_an_action_hook_unlike_all_others_passes() -> None:
    """Another application may answer it, or nobody has to. A handler of the kind takes them all."""
    app = app_with_hooks()
    hooks = ("/menu", "/menu/", "/menu?tries=2", "wss://other.example/x", "/nobody", "/items/7", "/items/8/")
    verbs = [{"verb": "redirect", "actionHook": hook} for hook in hooks]
    app.validate(verbs)

    @app.on("verb:hook")
    async def any_hook(call: Call) -> None:
        """Answer every hook."""

    app.validate([{"verb": "gather", "actionHook": "/menuu"}])


def app_with_hooks() -> App:
    app = App(validate_verbs=True)

    async def silent(call: Call) -> None:
        """Say nothing."""

    for path in ("/menu", "/barge", "/items/{item}"):
        app.hook(path)(silent)
    return app


async def test_a_handler_with_bad_verbs_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """In development; in production the check is off."""
    for validate_verbs, verbs in ((True, []), (False, [{"verb": "sing"}])):
        app = App(validate_verbs=validate_verbs)

        @app.hook("/x")
        async def sings(call: Call) -> object:
            return {"verb": "sing"}

        with caplog.at_level(logging.ERROR):
            async with AppClient(app, raises=False) as client:
                assert (await client.hook("/x")).verbs == verbs
    assert "unknown verb: sing" in caplog.text
    assert f"sings, {__file__}:" in caplog.text


async def test_commands_and_early_answers_are_checked_where_they_are_written(caplog: pytest.LogCaptureFixture) -> None:
    """The traceback shows the very line; nothing of the handler is sent."""
    app = App(validate_verbs=True)

    @app.hook("/redirect")
    async def redirects(call: Call) -> None:
        call.redirect({"verb": "sing"})

    @app.hook("/ack")
    async def acks(call: Call) -> None:
        await call.ack({"verb": "sing"})

    @app.hook("/parent")
    async def redirects_parent(call: Call) -> None:
        call.redirect_parent({"verb": "sing"})

    @app.hook("/whisper")
    async def whispers(call: Call) -> None:
        call.whisper({"verb": "say", "text": 5})

    async with AppClient(app, raises=False) as client:
        for hook, line in (
            ("/redirect", 'call.redirect({"verb": "sing"})'),
            ("/parent", 'call.redirect_parent({"verb": "sing"})'),
            ("/whisper", 'call.whisper({"verb": "say", "text": 5})'),
            ("/ack", 'await call.ack({"verb": "sing"})'),
        ):
            caplog.clear()
            reaction = await client.hook(hook)
            assert (reaction.verbs, reaction.commands) == ([], [])
            assert line in caplog.text
            assert "InvalidVerbs: verb 1" in caplog.text


async def test_a_builder_that_is_empty_once_it_was_read_is_checked_and_sent() -> None:
    """That of the SDK is; a check must not cost the answer."""
    app = App(validate_verbs=True, target="0.9")
    built = VerbBuilder().say

    @app.hook("/answer")
    async def answers(call: Call) -> object:
        return built(text="Hi")

    @app.hook("/ack")
    async def acks(call: Call) -> None:
        await call.ack(built(text="Hi"))

    @app.hook("/commands")
    async def commands(call: Call) -> None:
        call.redirect(built(text="Hi"))
        call.redirect_parent(built(text="Hi"))
        call.whisper(built(text="Hi"))

    say = [{"verb": "say", "text": "Hi"}]
    async with AppClient(app) as client:
        assert (await client.hook("/answer")).verbs == say
        assert (await client.hook("/ack")).verbs == say
        sent = [frame["data"] for frame in (await client.hook("/commands")).commands]
    assert sent == [say, {"parent_call": say}, {"whisper": say}]


def test_without_the_sdk_the_check_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(__import__("sys").modules, "jambonz_sdk.validator", None)
    verb_schemas._validator.cache_clear()
    with pytest.raises(ImportError, match="jambonz-cluster\\[sdk\\]"):
        check_schemas([{"verb": "say"}])


# appenv_schemaSchema.json of the api-server (PROTOCOL.md 8.1), what is about one variable.
PORTAL = {
    "type": "object",
    "properties": {
        "description": {"type": "string"},
        "type": {"type": "string", "enum": ["string", "number", "boolean"]},
        "required": {"type": "boolean"},
        "default": {"oneOf": [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]},
        "enum": {"type": "array"},
        "obscure": {"type": "boolean"},
    },
    "required": ["type", "description"],
}


def test_what_an_app_declares_is_what_the_portal_takes() -> None:
    """With defaults of the declared types, whatever they are written as."""
    app = App(
        env={
            "NAME": {"type": "string", "description": "x", "default": 7, "required": True, "enum": ("7", "8")},
            "TRIES": {"type": "number", "description": "x", "default": "3", "obscure": False},
            "SHARE": {"type": "number", "description": "x", "default": 0.5, "uiHint": "slider"},
            "OPEN": {"type": "boolean", "description": "x", "default": "True"},
        }
    )
    for variable in app.env.values():
        jsonschema.validate(variable, PORTAL, jsonschema.Draft7Validator)
    assert dict(typed(app.env, {"SHARE": "nan"})) == {"NAME": "7", "TRIES": 3, "SHARE": "nan", "OPEN": True}
    assert app.env["SHARE"]["uiHint"] == "slider"


def test_invalid_verbs_are_an_error_of_the_cluster() -> None:
    """Whoever catches the base of all catches them."""
    assert issubclass(InvalidVerbs, ClusterError)
    assert issubclass(InvalidVerbs, ValueError)

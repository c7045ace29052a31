"""The tutorial's code and the examples do what they say."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import jambonz_workers
from examples import conformance, hello, ivr, supervisor
from jambonz_shared.outcome import Outcome, OutcomeKind
from jambonz_simulator.script_files import load_script
from jambonz_workers import App, CallGone, Calls, testing
from jambonz_workers.controls import Controls
from jambonz_workers.durable import Durable
from jambonz_workers.testing import AppClient

REPO = Path(__file__).resolve().parents[3]
TUTORIAL = REPO / "docs" / "tutorial.md"
TESTING = REPO / "docs" / "how-to" / "test-an-application.md"
REFERENCE = REPO / "docs" / "reference" / "api.md"


def blocks(page: Path) -> list[str]:
    found: list[str] = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    return found


def module_of(source: str, name: str) -> ModuleType:
    module = ModuleType(name)
    exec(compile(source, f"tutorial:{name}", "exec"), module.__dict__)
    return module


@pytest.fixture
def menu(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The tutorial's ``menu.py``, as it is at the end."""
    _, full, _, later, _ = blocks(TUTORIAL)
    module = module_of(full + later, "menu")
    monkeypatch.setitem(sys.modules, "menu", module)
    return module


async def test_the_tutorials_first_step_says_hello() -> None:
    """A reader types it in as it is."""
    app: App = module_of(blocks(TUTORIAL)[0], "menu").app
    async with AppClient(app) as client:
        assert [verb["verb"] for verb in (await client.session_new("/menu")).verbs or []] == ["say", "hangup"]


async def test_the_tutorials_menu_and_its_test_work(menu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own test, and the slow service made quick."""
    await module_of(blocks(TUTORIAL)[2], "test_menu").play()
    sleep = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _: sleep(0))
    async with AppClient(menu.app) as client:
        assert (await client.session_new("/forecast")).verbs is not None
        assert [frame["command"] for frame in await client.settle()] == ["redirect"]


@pytest.fixture
def assistant(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The application of the page about tests."""
    module = module_of(blocks(TESTING)[0], "assistant")
    monkeypatch.setitem(sys.modules, "assistant", module)
    return module


TESTS_OF_THE_ASSISTANT = re.findall(r"^async def (test_\w+)", blocks(TESTING)[1], re.MULTILINE)


@pytest.mark.parametrize("name", TESTS_OF_THE_ASSISTANT)
def test_the_tests_of_the_page_about_tests_pass(
    name: str, assistant: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader copies them."""
    function = getattr(module_of(blocks(TESTING)[1], "test_assistant"), name)
    asyncio.run(function(**({"monkeypatch": monkeypatch} if "monkeypatch" in signature(function).parameters else {})))


def test_the_script_of_the_page_about_tests_can_be_played(tmp_path: Path) -> None:
    """What it expects is there to be compared."""
    (text,) = re.findall(r"```json\n(.*?)```", TESTING.read_text(), re.DOTALL)
    file = tmp_path / "question.json"
    file.write_text(text)
    assert load_script(str(file)).expects.says == ("How can I help?",)


class ListedCall:
    """A call as a list gives it; ``gone`` has ended since. Real ones need a Redis; tests of ``Calls`` have it."""

    app, status = "ivr", "in-progress"

    def __init__(self, sid: str) -> None:
        self.sid = sid

    async def state(self) -> dict[str, object]:
        return dict.fromkeys(["step"], await self.redirect([]))

    async def redirect(self, _: object) -> Outcome:
        if self.sid == "gone":
            raise CallGone(self.sid)
        return Outcome("d1", OutcomeKind.SENT)


class ListedCalls:
    async def list(self, app: str | None = None) -> list[ListedCall]:
        return [ListedCall("gone"), ListedCall("live")]

    @classmethod
    @asynccontextmanager
    async def connect(cls, _: str) -> AsyncIterator["ListedCalls"]:
        yield cls()


async def test_a_call_that_ends_meanwhile_ends_no_supervisor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others in the list are still there."""
    monkeypatch.setattr(supervisor, "Calls", ListedCalls)
    await supervisor.show(None)
    assert capsys.readouterr().out == "live  ivr  in-progress  state: ['step']\n"
    closing = module_of(blocks(TUTORIAL)[4], "closing")
    monkeypatch.setattr(closing, "Calls", ListedCalls)
    await closing.main("redis://127.0.0.1:6379/0")
    assert capsys.readouterr().out == "live sent \n"


def test_the_reference_has_a_row_for_every_error_that_applications_can_catch() -> None:
    """Whoever writes `except` looks there for what there is."""
    offered = (getattr(jambonz_workers, name) for name in jambonz_workers.__all__)
    errors = {it.__name__ for it in offered if isinstance(it, type) and issubclass(it, Exception)}
    table = REFERENCE.read_text().split("\n## Errors\n")[1].split("\n## ")[0]
    rows = [re.match(r"\| (`.*?`) \|", line) for line in table.splitlines()]
    assert {name for row in rows if row for name in re.findall(r"`(\w+)`", row[1])} == errors


@pytest.mark.parametrize("kind", [App, Controls, Durable, Calls, testing.AppClient])
def test_the_reference_names_every_public_method(kind: type) -> None:
    """So that nothing is added without a word about it."""
    text = REFERENCE.read_text()
    names = [name for name, value in vars(kind).items() if callable(value) and not name.startswith("_")]
    internal = {"resolve", "manifest", "record", "listen", "on_outcome", "new_id", "deliver", "commit", "tell"}
    internal.add("expect_transfer")
    missing = [name for name in names if name not in internal and not re.search(rf"\b{name}\b", text)]
    assert names
    assert missing == []


async def test_hello_says_hello() -> None:
    """The smallest example."""
    async with AppClient(hello.app) as client:
        reaction = await client.session_new("/hello")
        assert reaction.verbs is not None
        assert "+15550001" in reaction.verbs[0]["text"]


async def test_the_ivr_counts_misunderstandings(capsys: pytest.CaptureFixture[str]) -> None:
    """Its state decides when to give up."""
    async with AppClient(ivr.app) as client:
        await client.session_new("/ivr", env_vars={"GREETING": "Moin"})
        assert (await client.hook("/menu", digits="2")).verbs is not None
        for digits, last in (("1", "gather"), ("5", "gather"), ("6", "gather"), ("7", "hangup")):
            verbs = (await client.hook("/menu", digits=digits)).verbs
            assert verbs is not None
            assert verbs[-1]["verb"] == last
        for status, last in (("completed", "hangup"), ("busy", "gather")):
            verbs = (await client.hook("/dialled", dial_call_status=status)).verbs
            assert verbs is not None
            assert verbs[-1]["verb"] == last
        await client.end()
    assert "3 misunderstandings" in capsys.readouterr().out


def tag(data: object) -> list[dict[str, object]]:
    return [{"verb": "tag", "data": data}]


async def test_the_conformance_application_answers_its_hooks() -> None:
    """Those that need nobody but the app itself."""
    async with AppClient(conformance.app, call_sid="c1", raises=False) as client:
        welcome = (await client.session_new("/conformance")).verbs
        assert welcome is not None
        assert welcome[0] == {"verb": "say", "text": "welcome c1"}
        assert (await client.hook("/count")).verbs == tag({"count": 1, "starts": 1})
        await client.send("call:status", {"seq": 4})
        await client.send("verb:status", {"seq": 5, "crash": True})
        assert (await client.hook("/seen")).verbs == tag({"seen": [4]})
        assert (await client.hook("/echo", args={"payload": {"aB": [1]}})).verbs == tag({"echo": {"aB": [1]}})
        assert (await client.send("session:redirect", hook="/x")).verbs == tag({"redirected": "/x", "count": 1})
        assert (await client.hook("/crash")).verbs == []
        for digit in "136789*0#":
            assert (await client.hook("/menu", digits=digit)).verbs, digit
        assert (await client.hook("/menu")).verbs == [{"verb": "say", "text": "no input"}, {"verb": "hangup"}]


async def test_the_conformance_application_issues_commands() -> None:
    """In order, after the ack; what jambonz would ignore is left out."""
    given: list[dict[str, Any]] = [
        {"command": "redirect", "verbs": tag(1), "queue": True},
        {"command": "boostAudioSignal", "data": 0},
        {"command": "llm:tool-output", "tool_call_id": "t", "data": {}},
        {"command": "tts:tokens", "data": {"id": 1, "tokens": "Hi"}},
        {"command": "tts:flush"},
        {"command": "tts:clear"},
        {"command": "dtmf", "data": {"dtmf": {"digit": "1"}}, "callSid": "leg"},
    ]
    async with AppClient(conformance.app) as client:
        assert (await client.hook("/emit", args={"commands": given})).commands == []
        frames = await client.settle()
    wanted = [it["command"] for it in given if it["command"] != "boostAudioSignal"]
    assert [frame["command"] for frame in frames] == wanted
    assert frames[-1]["callSid"] == "leg"


async def test_the_conformance_application_streams_tokens_one_at_a_time() -> None:
    """The next one goes out when the result of the last has come."""
    async with AppClient(conformance.app, takes_text=False) as client:
        await client.hook("/tts", args={"tokens": ["a", "b"]})
        for token_id in (1, 2):
            while not any(it.get("data", {}).get("id") == token_id for it in client.commands):
                await asyncio.sleep(0)
            assert len(client.commands) == token_id
            await client.send("tts:tokens-result", {"id": token_id, "status": "ok"})
        assert [frame["command"] for frame in await client.settle()] == [
            "tts:tokens",
            "tts:tokens",
            "tts:flush",
            # Behind a last word without a full stop a blank makes the flush immediate.
            "tts:tokens",
        ]


def test_the_supervisor_is_a_command() -> None:
    """Its commands are tested with ``Calls``."""
    main = import_module("examples.supervisor").main
    assert sorted(main.commands) == ["list", "take"]

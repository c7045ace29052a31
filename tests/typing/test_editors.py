"""Editors complete events, commands and verbs; the packages say that they are typed."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jambonz_workers.capabilities import COMMANDS
from tests.typing.language_server import REPO, LanguageServer

HANDLER = """
from jambonz_workers import App, Call
from jambonz_workers.events import GatherResult
from jambonz_sdk.verb_builder import VerbBuilder

app = App()


@app.hook("/menu")
async def menu(call: Call, event: GatherResult) -> object:
    """


@pytest.fixture(scope="module")
def server() -> Iterator[LanguageServer]:
    with LanguageServer.running() as running:
        yield running


@pytest.mark.long
def test_facts_of_events_are_completed(server: LanguageServer) -> None:
    """By the class that the handler's annotation names."""
    assert server.completions(HANDLER + "event.|") >= {"digits", "transcript", "is_timeout", "data", "path_params"}


@pytest.mark.long
def test_every_command_is_completed(server: LanguageServer) -> None:
    """Of a call in a handler, and of one looked up by another process."""
    methods = {method for fact in COMMANDS.values() for method in fact.methods}
    assert server.completions(HANDLER + "call.|") >= methods
    remote = HANDLER + "other = await app.calls.get('sid')\n    other.|"
    assert server.completions(remote) >= methods - {"tts_stream"}


@pytest.mark.long
def test_values_of_arguments_are_completed(server: LanguageServer) -> None:
    """Nobody has to know jambonz's words by heart."""
    assert server.completions(HANDLER + "call.record(|)") >= {'"start"', '"stop"', '"pause"', '"resume"'}


@pytest.mark.long
def test_verbs_are_completed(server: LanguageServer) -> None:
    """By the builder of jambonz-python-sdk, with the properties of each."""
    assert server.completions(HANDLER + "VerbBuilder().|") >= {"say", "gather", "dial", "enqueue", "conference"}
    assert server.completions(HANDLER + "VerbBuilder().gather(|)") >= {"actionHook=", "numDigits="}


def test_the_wheel_says_that_it_is_typed(tmp_path: Path) -> None:
    """PEP 561: without the marker, checkers ignore all annotations of an installed package."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=REPO, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    packages = {name.split("/")[0] for name in names if name.endswith(".py")}
    assert {f"{package}/py.typed" for package in packages} <= names
    assert "jambonz_workers" in packages

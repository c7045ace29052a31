"""The command line: help, version, exit codes and messages of wrong usage."""

import sys
from importlib.machinery import ExtensionFileLoader
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from jambonz_cluster.cli import main
from jambonz_shared import wire
from jambonz_workers import verb_schemas


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner().invoke(main, arguments, env=environ, prog_name="jambonz-cluster")


def test_version_tells_how_it_was_built() -> None:
    """A bug report can name it; compiled code is the first suspect."""
    is_native = wire.__spec__ is not None and isinstance(wire.__spec__.loader, ExtensionFileLoader)
    result = run("--version")
    assert (result.exit_code, result.output) == (
        0,
        f"jambonz-cluster 0.1.0, {'compiled' if is_native else 'not compiled'}\n",
    )


def test_help_lists_every_command() -> None:
    """A newcomer finds the rest from here."""
    result = run("--help")
    assert result.exit_code == 0
    for command in ("gateway", "worker", "dev", "simulate", "calls"):
        assert f"\n  {command} " in result.output


@pytest.mark.parametrize("command", ["gateway", "worker", "dev"])
def test_help_names_the_variable_of_each_option(command: str) -> None:
    """Flags and variables are two names of one setting."""
    result = run(command, "--help")
    assert "--redis-url" in result.output
    assert "JAMBONZ_CLUSTER_REDIS_URL" in result.output


def test_verbs_that_cannot_be_validated_are_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not to each caller: every handler would fail."""
    monkeypatch.setitem(sys.modules, "jambonz_sdk.validator", None)
    verb_schemas._validator.cache_clear()
    result = run("worker", "examples.hello:app", JAMBONZ_CLUSTER_VALIDATE_VERBS="on")
    assert (result.exit_code, result.stderr) == (
        2,
        "verbs cannot be validated: checking verbs needs the SDK: pip install 'jambonz-cluster[sdk]'\n",
    )


def test_a_fallback_that_is_no_verb_is_told_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would see it before the first caller whom no worker answers."""
    source = "from jambonz_workers import App\napp = App(fallback={'verb': 'sing'})\n"
    (tmp_path / "singing.py").write_text(source + "@app.session('/')\ndef begin(call): ...\n")
    monkeypatch.chdir(tmp_path)
    result = run("worker", "singing:app", JAMBONZ_CLUSTER_VALIDATE_VERBS="on")
    assert (result.exit_code, result.stderr) == (
        2,
        "bad application: a fallback is none that jambonz takes: verb 1 (sing): unknown verb: sing\n",
    )


@pytest.mark.parametrize("command", [("gateway",), ("status",), ("calls", "list"), ("quarantine", "list"), ("doctor",)])
def test_url_of_redis_that_cannot_be_used_is_a_bad_setting(command: tuple[str, ...]) -> None:
    """Its shape is right, so only redis-py finds out; no traceback, nothing is started."""
    result = run(*command, REDIS_URL="redis://redis:no-number/0")
    assert result.exit_code == 2
    assert result.stderr.startswith("bad setting JAMBONZ_CLUSTER_REDIS_URL: Redis URL: expected user:password@host")


def test_bad_settings_are_all_listed_and_exit_with_2() -> None:
    """One failed start is enough to mend everything."""
    result = run("gateway", "--port", "x", JAMBONZ_CLUSTER_PROCESSES="0", REDIS_URL="hunter2")
    assert result.exit_code == 2
    assert sorted(result.stderr.splitlines()) == [
        "bad setting --port='x': expected a whole number, 0 to 65535",
        "bad setting JAMBONZ_CLUSTER_PROCESSES='0': expected a whole number, 1 to 256",
        "bad setting REDIS_URL=(secret): expected a URL such as redis://host:6379/0 or rediss://:password@host",
    ]


def test_misspelt_variable_is_warned_about() -> None:
    """Otherwise the default would rule in silence."""
    result = run("gateway", "--port", "x", JAMBONZ_CLUSTER_PROTS="1")
    assert "warning: JAMBONZ_CLUSTER_PROTS is no setting of jambonz-cluster; it is ignored\n" in result.stderr


@pytest.mark.parametrize(
    ("target", "exit_code", "message"),
    [
        pytest.param("nothing", 2, "bad application: expected MODULE:APP", id="no_colon"),
        pytest.param(
            "json:dumps",
            2,
            "bad application: expected 'json:dumps' to be a jambonz_workers.App, got function",
            id="no_app",
        ),
        pytest.param("this_module_raises:app", 1, "ZeroDivisionError", id="raises"),
    ],
)
def test_bad_application_is_named(
    target: str, exit_code: int, message: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wrong usage exits with 2, an application that fails with 1 and its traceback."""
    folder = tmp_path_factory.mktemp("application")
    (folder / "this_module_raises.py").write_text("1 / 0\n")
    monkeypatch.chdir(folder)
    result = run("worker", target)
    assert result.exit_code == exit_code
    assert message in result.stderr


def test_unknown_command_is_wrong_usage() -> None:
    """Scripts can tell a typing mistake from a failure."""
    assert run("gatway").exit_code == 2


def test_app_without_a_session_handler_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker of it runs, and every call gets 404."""
    (tmp_path / "bare_ivr.py").write_text("from jambonz_workers import App\napp = App()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("jambonz_cluster.processes.run_processes", lambda *_: 0)
    assert run("worker", "bare_ivr:app").stderr == "warning: the app has no session handler: every call gets 404\n"
    assert run("worker", "examples.hello:app").stderr == ""


def test_handler_of_a_misspelt_kind_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It never runs; one of a newer jambonz may."""
    lines = ["from jambonz_workers import App", "app = App()", "@app.session('/')", "def start(call): ..."]
    lines += [f"@app.on('{kind}')\ndef {name}(call): ..." for kind, name in (("call-status", "a"), ("rtt:text", "b"))]
    (tmp_path / "odd_kinds.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("jambonz_cluster.processes.run_processes", lambda *_: 0)
    assert run("worker", "odd_kinds:app").stderr == (
        "warning: the app has a handler of 'call-status', which no known jambonz sends; was 'call:status' meant?\n"
    )

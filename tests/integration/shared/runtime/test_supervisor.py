"""A supervisor with real child processes."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from jambonz_shared.runtime.backoff import Backoff
from jambonz_shared.runtime.signals import Shutdown
from jambonz_shared.runtime.supervisor import Supervisor
from tests.conditions import until

QUICK = Backoff(first_s=0.01, most_s=0.05)

# Appends its index and each signal to a file; the first SIGTERM is only noted, the second ends it.
STUBBORN_CHILD = """
import signal, sys, time
index, path = sys.argv[1:]
def note(text):
    with open(path, "a") as file:
        file.write(f"{index} {text}\\n")
seen = 0
def handle(number, frame):
    global seen
    seen += 1
    note(f"signal {seen}")
    if seen == 2:
        sys.exit(0)
signal.signal(signal.SIGTERM, handle)
note("up")
while True:
    time.sleep(0.01)
"""

OBEDIENT_CHILD = STUBBORN_CHILD.replace("seen == 2", "seen == 1")


def argv_for(code: str, path: Path) -> Callable[[int], list[str]]:
    return lambda index: [sys.executable, "-c", code, str(index), str(path)]


def lines_of(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def test_first_wish_drains_children_and_second_hastens_them(tmp_path: Path) -> None:
    """Both signals of the operator reach every child, each once."""
    notes, shutdown = tmp_path / "notes", Shutdown()
    supervisor = Supervisor(argv_for(STUBBORN_CHILD, notes), 2)
    run = asyncio.create_task(supervisor.run_until(shutdown))
    await until(lambda: len(lines_of(notes)) == 2, "both children are up")
    shutdown.request()
    await until(lambda: len(lines_of(notes)) == 4, "both children noted the first signal")
    shutdown.request()
    assert await run == 0
    assert sorted(lines_of(notes)) == ["0 signal 1", "0 signal 2", "0 up", "1 signal 1", "1 signal 2", "1 up"]
    assert supervisor.pids == []


async def test_wish_to_read_files_again_reaches_every_child(tmp_path: Path) -> None:
    """The operator knows one process id; SIGHUP to it renews the certificates of all."""
    notes, shutdown, reload = tmp_path / "notes", Shutdown(), asyncio.Event()
    child = OBEDIENT_CHILD.replace('note("up")', 'signal.signal(signal.SIGHUP, lambda *_: note("reload"))\nnote("up")')
    supervisor = Supervisor(argv_for(child, notes), 2)
    run = asyncio.create_task(supervisor.run_until(shutdown, reload))
    await until(lambda: len(lines_of(notes)) == 2, "both children are up")
    for times in (1, 2):
        reload.set()
        await until(lambda times=times: lines_of(notes).count("1 reload") == times, "child 1 has heard it")
        await until(lambda times=times: lines_of(notes).count("0 reload") == times, "child 0 has heard it")
    shutdown.request()
    assert await run == 0


async def test_crashed_child_is_started_again_with_its_index(tmp_path: Path) -> None:
    """One crash costs one process for a moment, not the service."""
    notes, shutdown = tmp_path / "notes", Shutdown()
    supervisor = Supervisor(argv_for(OBEDIENT_CHILD, notes), 2, backoff=QUICK)
    run = asyncio.create_task(supervisor.run_until(shutdown))
    await until(lambda: sorted(lines_of(notes)) == ["0 up", "1 up"], "both children are up")
    os.kill(supervisor.pids[1], signal.SIGKILL)
    await until(lambda: sorted(lines_of(notes)) == ["0 up", "1 up", "1 up"], "child 1 is up again")
    shutdown.request()
    assert await run == 0


async def test_child_that_cannot_be_helped_ends_the_whole(tmp_path: Path) -> None:
    """Bad settings do not get better by trying again; the orchestrator sees the exit code."""
    notes = tmp_path / "notes"

    def argv_of(index: int) -> list[str]:
        return [sys.executable, "-c", "raise SystemExit(2)"] if index else argv_for(OBEDIENT_CHILD, notes)(index)

    assert await asyncio.wait_for(Supervisor(argv_of, 2, backoff=QUICK).run_until(Shutdown()), 20) == 2


async def test_child_that_ends_badly_while_draining_is_reported(tmp_path: Path) -> None:
    """Exit code 0 means that everything was drained."""
    notes, shutdown = tmp_path / "notes", Shutdown()
    code = OBEDIENT_CHILD.replace("sys.exit(0)", "sys.exit(7)")
    run = asyncio.create_task(Supervisor(argv_for(code, notes), 1).run_until(shutdown))
    await until(lambda: lines_of(notes) == ["0 up"], "the child is up")
    shutdown.request()
    assert await run == 1


async def test_children_that_ignore_haste_are_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An end has an end."""
    monkeypatch.setattr("jambonz_shared.runtime.supervisor.HASTE_LIMIT_S", 0.05)
    notes, shutdown = tmp_path / "notes", Shutdown()
    code = STUBBORN_CHILD.replace("seen == 2", "False")
    run = asyncio.create_task(Supervisor(argv_for(code, notes), 1).run_until(shutdown))
    await until(lambda: lines_of(notes) == ["0 up"], "the child is up")
    shutdown.request()
    shutdown.request()
    assert await asyncio.wait_for(run, 20) == 1


async def test_wish_to_end_during_a_pause_starts_nothing_more(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A process in back-off ends at once."""
    notes, shutdown = tmp_path / "notes", Shutdown()
    code = f"open({str(notes)!r}, 'a').write('ran\\n'); raise SystemExit(1)"
    supervisor = Supervisor(lambda _: [sys.executable, "-c", code], 1, backoff=Backoff(first_s=3600.0, most_s=3600.0))
    run = asyncio.create_task(supervisor.run_until(shutdown))
    await until(lambda: "child ended" in caplog.text, "the child has crashed, and its pause has begun")
    shutdown.request()
    assert await asyncio.wait_for(run, 20) == 0
    assert lines_of(notes) == ["ran"]


async def test_child_that_starts_while_the_wish_comes_is_told_too(tmp_path: Path) -> None:
    """No child is forgotten because it was born a moment too late."""
    shutdown = Shutdown()

    def argv_of(index: int) -> list[str]:
        shutdown.request()
        return argv_for(OBEDIENT_CHILD, tmp_path / "notes")(index)

    assert await asyncio.wait_for(Supervisor(argv_of, 1).run_until(shutdown), 20) == 0


def test_fewer_than_one_child_is_a_mistake() -> None:
    """Nothing to supervise is a wrong setting, not a quiet success."""
    with pytest.raises(ValueError, match="at least one child"):
        Supervisor(lambda _: [], 0)


PARENT = """
import sys
from jambonz_shared.runtime.loop import run_in_loop
from jambonz_shared.runtime.supervisor import Supervisor
code, path = sys.argv[1:]
sys.exit(run_in_loop(Supervisor(lambda index: [sys.executable, "-c", code, str(index), path], 2).run()))
"""


@pytest.fixture
def parent(tmp_path: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", PARENT, OBEDIENT_CHILD, str(tmp_path / "notes")])


async def test_signal_to_the_parent_ends_all_under_uvloop(parent: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    """The real arrangement: a parent under uvloop, told by SIGTERM."""
    await until(lambda: len(lines_of(tmp_path / "notes")) == 2, "both children are up")
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(20) == 0
    assert sorted(lines_of(tmp_path / "notes"))[1::2] == ["0 up", "1 up"]


async def test_children_end_when_the_parent_is_killed(parent: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    """A supervisor that is killed by kill -9 leaves no process behind that holds its port."""
    await until(lambda: len(lines_of(tmp_path / "notes")) == 2, "both children are up")
    children = psutil.Process(parent.pid).children()
    assert len(children) == 2
    parent.kill()
    parent.wait(20)
    await until(lambda: not any(map(is_alive, children)), "both children have ended")


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE

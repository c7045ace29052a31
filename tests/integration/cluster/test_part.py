"""A part of `dev`: its output, and its end against its will."""

import asyncio
import os
import sys

import pytest

from jambonz_cluster import part as part_module
from jambonz_cluster.part import Part, Screen
from tests.conditions import until


class Recorder:
    """Keeps what parts say."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, name: str, line: str) -> None:
        self.lines.append(f"{name}: {line}")


@pytest.fixture
def screen() -> Recorder:
    return Recorder()


def make_part(code: str, screen: Recorder) -> Part:
    return Part("child", [sys.executable, "-c", code], os.environ, screen.say)


async def test_output_and_errors_come_line_by_line(screen: Recorder) -> None:
    """All that was written is there when the end is told."""
    part = make_part("import sys; print('one', flush=True); print('two', file=sys.stderr); sys.exit(3)", screen)
    await part.start()
    assert await part.ended() == 3
    assert screen.lines == ["child: one", "child: two"]


async def test_endless_line_does_not_end_the_pump(screen: Recorder) -> None:
    """A dumped object of 3 MiB is left out, what follows is shown, and the child never blocks on a full pipe."""
    part = make_part("print('x' * 3 * 1024 * 1024); print('after')", screen)
    await part.start()
    assert await asyncio.wait_for(part.ended(), 20) == 0
    assert screen.lines[0] == "child: (a line of more than 1 MiB was left out)"
    assert screen.lines[-1] == "child: after"


STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("no", flush=True))
print("up", flush=True)
while True:
    time.sleep(0.01)
"""


async def test_part_that_will_not_end_is_killed(screen: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends `dev` whatever the application does."""
    monkeypatch.setattr(part_module, "DRAIN_LIMIT_S", 0.2)
    monkeypatch.setattr(part_module, "HASTE_LIMIT_S", 0.2)
    part = make_part(STUBBORN, screen)
    await part.start()
    await until(lambda: screen.lines == ["child: up"], "the child is up")
    await part.stop()
    assert await part.ended() == -9
    assert screen.lines == ["child: up", "child: no", "child: no"]


async def test_haste_shortens_the_drain(screen: Recorder) -> None:
    """A second Ctrl-C sends the second signal at once."""
    code = (
        "import signal, time\nn = 0\n"
        "def handle(*_):\n    global n\n    n += 1\n    print(n, flush=True)\n    if n == 2: raise SystemExit\n"
        "signal.signal(signal.SIGTERM, handle)\nprint('up', flush=True)\nwhile True: time.sleep(0.01)\n"
    )
    part, haste = make_part(code, screen), asyncio.Event()
    await part.start()
    await until(lambda: screen.lines == ["child: up"], "the child is up")
    stopping = asyncio.create_task(part.stop(haste))
    await until(lambda: "child: 1" in screen.lines, "the first signal has come")
    haste.set()
    await asyncio.wait_for(stopping, part_module.DRAIN_LIMIT_S)
    assert await part.ended() == 0
    assert screen.lines[-1] == "child: 2"


async def test_stop_before_start_is_harmless(screen: Recorder) -> None:
    """Clean-up code need not know how far the start came."""
    await make_part("", screen).stop()


def test_screen_has_colour_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file holds no escape sequences."""
    Screen().say("worker", "plain")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    Screen().say("worker", "coloured")
    assert capsys.readouterr().out == " worker | plain\n\x1b[35m worker |\x1b[0m coloured\n"

"""Signals as wishes."""

import asyncio
import os
import signal

import pytest

from jambonz_shared.runtime.loop import run_in_loop
from jambonz_shared.runtime.signals import Shutdown, reload_signal, shutdown_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_asks_to_drain_and_second_hastens(number: signal.Signals) -> None:
    """An impatient operator presses Ctrl-C twice."""

    async def main() -> list[tuple[bool, bool]]:
        with shutdown_signals() as shutdown:
            os.kill(os.getpid(), number)
            await shutdown.drain.wait()
            after_first = (shutdown.drain.is_set(), shutdown.haste.is_set())
            os.kill(os.getpid(), number)
            await shutdown.haste.wait()
            return [after_first, (shutdown.drain.is_set(), shutdown.haste.is_set())]

    assert run_in_loop(main()) == [(True, False), (True, True)]


async def test_third_request_changes_nothing() -> None:
    """Wishes do not wear out."""
    shutdown = Shutdown()
    for _ in range(3):
        shutdown.request()
    assert shutdown.drain.is_set()
    assert shutdown.haste.is_set()


def test_signals_do_what_they_did_before_once_the_block_is_left() -> None:
    """Whoever embeds a gateway keeps his own handlers."""

    def own_handler(*_: object) -> None:
        raise AssertionError("no signal is sent in this test")

    async def main() -> None:
        with shutdown_signals():
            assert signal.getsignal(signal.SIGTERM) is not own_handler

    before = signal.signal(signal.SIGTERM, own_handler)
    try:
        run_in_loop(main())
        assert signal.getsignal(signal.SIGTERM) is own_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_process_runs_under_uvloop() -> None:
    """The measured speed depends on it."""

    async def main() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert run_in_loop(main()).startswith("uvloop")


def test_sighup_is_a_wish_to_read_files_again() -> None:
    """It may come any number of times; whoever has read them clears the event."""

    async def main() -> int:
        heard = 0
        with reload_signal() as reload:
            while heard < 3:
                os.kill(os.getpid(), signal.SIGHUP)
                await reload.wait()
                reload.clear()
                heard += 1
        return heard

    before = signal.getsignal(signal.SIGHUP)
    assert run_in_loop(main()) == 3
    assert signal.getsignal(signal.SIGHUP) == before

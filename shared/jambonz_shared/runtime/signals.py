"""Signals as wishes: SIGTERM and SIGINT first to drain, then to make haste; SIGHUP to read files again."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SHUTDOWN_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Shutdown:
    """What this process has been asked to do.

    ``drain`` is set by the first signal, ``haste`` by the second; further ones change nothing. Programs and tests
    may call ``request`` themselves.
    """

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.haste = asyncio.Event()

    def request(self) -> None:
        """Ask once more: to drain, or to make haste if draining has been asked for already."""
        (self.haste if self.drain.is_set() else self.drain).set()


@contextmanager
def shutdown_signals() -> Iterator[Shutdown]:
    """Turn the signals of this process into wishes while the block runs.

    Works in the main thread of a running loop only. Afterwards the signals do what they did before.
    """
    loop = asyncio.get_running_loop()
    shutdown = Shutdown()
    before = {number: signal.getsignal(number) for number in SHUTDOWN_SIGNALS}
    for number in SHUTDOWN_SIGNALS:
        loop.add_signal_handler(number, shutdown.request)
    try:
        yield shutdown
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


@contextmanager
def reload_signal() -> Iterator[asyncio.Event]:
    """Set the event at each SIGHUP while the block runs; who has done as it says clears it. As ``shutdown_signals``."""
    loop = asyncio.get_running_loop()
    reload = asyncio.Event()
    before = signal.getsignal(signal.SIGHUP)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    try:
        yield reload
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        signal.signal(signal.SIGHUP, before)

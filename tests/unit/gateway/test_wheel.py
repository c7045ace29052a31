"""The timer of all connections, driven by a clock that stands still until told."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from jambonz_gateway.wheel import Wheel, in_company


class StandingLoop:
    """The part of an event loop the Wheel uses; time passes by ``passes`` only."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._calls: list[tuple[float, Callable[[], Any]]] = []

    def time(self) -> float:
        return self.now_s

    def call_at(self, when: float, callback: Callable[[], Any]) -> "StandingLoop":
        self._calls.append((when, callback))
        return self

    def cancel(self) -> None:
        self._calls.clear()

    @property
    def next_call_s(self) -> float | None:
        return self._calls[0][0] if self._calls else None

    def passes(self, seconds: float) -> None:
        until_s = self.now_s + seconds
        while self._calls and self._calls[0][0] <= until_s:
            when, callback = self._calls.pop(0)
            # A loop is never back at the very same moment; slots are multiples of a fraction that floats cannot hold.
            self.now_s = max(self.now_s, when) + 1e-6
            callback()
        self.now_s = until_s


class Sleeper:
    """Notes when it is woken."""

    def __init__(self, *, error: Exception | None = None, again_s: float | None = None) -> None:
        self.wakes_at_s = float("inf")
        self.woken: list[float] = []
        self.error = error
        self.again_s = again_s

    def wake(self, now_s: float) -> float | None:
        self.woken.append(now_s)
        if self.error:
            raise self.error
        return self.again_s


def wheel_of(loop: StandingLoop, errors: list[Exception]) -> Wheel:
    as_loop: asyncio.AbstractEventLoop = loop  # type: ignore[assignment]
    return Wheel(as_loop, slot_s=0.05, on_error=errors.append)


def test_sleeper_is_woken_at_most_one_slot_late_and_never_early() -> None:
    """A deadline of 4 s that rang at 5 s would be none (P1)."""
    loop, sleeper = StandingLoop(), Sleeper()
    wheel_of(loop, []).ask(sleeper, 104.02)
    loop.passes(4.0)
    assert sleeper.woken == []
    loop.passes(0.1)
    [woken_s] = sleeper.woken
    assert 104.02 <= woken_s <= 104.08


def test_earlier_wish_wins_and_later_wish_is_free() -> None:
    """Hooks come by the thousand and are answered at once: only the earliest deadline is in the wheel."""
    loop, sleeper = StandingLoop(), Sleeper()
    wheel = wheel_of(loop, [])
    wheel.ask(sleeper, 110.0)
    wheel.ask(sleeper, 101.0)
    wheel.ask(sleeper, 120.0)
    wheel.ask(sleeper, None)
    loop.passes(30.0)
    assert len(sleeper.woken) == 1
    assert sleeper.woken[0] < 101.1


def test_slots_without_anybody_do_not_wake_the_process() -> None:
    """An idle gateway sleeps; what is asked for later, and due earlier, is not missed."""
    loop, first, second = StandingLoop(), Sleeper(again_s=130.0), Sleeper()
    wheel = wheel_of(loop, [])
    assert loop.next_call_s is None
    wheel.ask(first, 120.0)
    assert loop.next_call_s == pytest.approx(120.05)
    loop.passes(10.0)
    wheel.ask(second, 112.0)
    assert loop.next_call_s == pytest.approx(112.05)
    loop.passes(11.0)
    assert (len(first.woken), len(second.woken)) == (1, 1)
    assert loop.next_call_s == pytest.approx(130.05)


@pytest.mark.parametrize("at_s", [100.0, 100.01, 107.249, 25.0])
def test_company_comes_a_little_early_and_never_late(at_s: float) -> None:
    """A ping that is late would be taken for a silent peer by a proxy that counts."""
    shared_s = in_company(at_s)
    assert at_s - 0.25 < shared_s <= at_s
    assert shared_s % 0.25 == 0


def test_forgotten_sleeper_is_not_woken() -> None:
    """Its socket is closed."""
    loop, sleeper = StandingLoop(), Sleeper()
    wheel = wheel_of(loop, [])
    wheel.ask(sleeper, 101.0)
    wheel.forget(sleeper)
    wheel.forget(sleeper)
    loop.passes(5.0)
    assert sleeper.woken == []


def test_fault_of_one_connection_stops_neither_the_others_nor_its_own_clock() -> None:
    """Its next hook is owed an ack as well (P1, P9)."""
    loop, errors = StandingLoop(), list[Exception]()
    broken, sound = Sleeper(error=RuntimeError("broken")), Sleeper()
    wheel = wheel_of(loop, errors)
    for sleeper in (broken, sound):
        wheel.ask(sleeper, 101.0)
    loop.passes(1.2)
    assert len(sound.woken) == 1
    assert len(errors) == 1
    loop.passes(1.0)
    assert len(broken.woken) >= 2


def test_wheel_that_was_late_wakes_everybody() -> None:
    """The process was frozen for ten seconds."""
    loop, sleepers = StandingLoop(), [Sleeper(), Sleeper()]
    wheel = wheel_of(loop, [])
    for number, sleeper in enumerate(sleepers):
        wheel.ask(sleeper, 101.0 + number)
    loop.now_s = 110.0
    loop.passes(0.1)
    assert [len(sleeper.woken) for sleeper in sleepers] == [1, 1]


def test_stopped_wheel_wakes_nobody() -> None:
    """The process is leaving."""
    loop, sleeper = StandingLoop(), Sleeper()
    wheel = wheel_of(loop, [])
    wheel.ask(sleeper, 101.0)
    wheel.stop()
    loop.passes(5.0)
    assert sleeper.woken == []

"""Which calls of a storm are judged: not those in whose life the callers' own process stood still."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.chaos import invariants
from tests.chaos.callers import Caller, Crowd
from tests.chaos.invariants import Findings, examine


class ExaminationDouble:
    """Finds a fault with every call."""

    def __init__(self, caller: Caller, findings: Findings) -> None:
        self._caller = caller
        self._findings = findings

    def judge(self) -> None:
        self._findings.counts["calls"] += 1
        self._findings.broken("a fault", self._caller, "found")


def caller(name: str, started_at_s: float) -> Caller:
    """Return a call of 6 s."""
    live = SimpleNamespace(result=SimpleNamespace(duration_s=6.0))
    return cast("Caller", SimpleNamespace(sid=name, started_at_s=started_at_s, live=live))


def found(monkeypatch: pytest.MonkeyPatch, standstills: list[tuple[float, float]]) -> list[Any]:
    """Return what is found of calls that began at 0, 10 and 20 s."""
    monkeypatch.setattr(invariants, "Examination", ExaminationDouble)
    people = [caller(f"call-{at_s}", at_s) for at_s in (0, 10, 20)]
    return examine(Crowd("", 1, people, standstills)).violations


def test_calls_are_judged_unless_the_callers_stood_still_in_their_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """All servers are late then, however quick they are; calls before and after it tell as much as ever."""
    assert [sentence for _, sentence in found(monkeypatch, [(15.9, 17.0), (7.0, 9.0)])] == [
        "call call-0: found",
        "call call-20: found",
    ]


def test_storm_of_which_half_the_calls_cannot_be_judged_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one in which nothing was looked at would be a good one."""
    names = [name for name, _ in found(monkeypatch, [(5.0, 11.0)])]
    assert names == ["a fault", "half of the calls can be judged"]

"""What a storm excuses: calls that were late while the machine stood still, and nothing else of them."""

from types import SimpleNamespace
from typing import cast

import pytest

from tests.chaos import invariants
from tests.chaos.callers import Caller, Crowd
from tests.chaos.invariants import Findings, examine
from tests.chaos.standstills import LOOK_EVERY_S, Standstills

LATE = "every hook acked in time"


class ExaminationDouble:
    """Finds the same faults with every call."""

    faults: tuple[str, ...] = ()

    def __init__(self, caller: Caller, findings: Findings) -> None:
        self._caller = caller
        self._findings = findings

    def judge(self) -> None:
        self._findings.counts["calls"] += 1
        for fault in self.faults:
            self._findings.broken(fault, self._caller, "found")


def caller(name: str, started_at_s: float) -> Caller:
    """Return a call of 6 s."""
    live = SimpleNamespace(result=SimpleNamespace(duration_s=6.0))
    return cast("Caller", SimpleNamespace(sid=name, started_at_s=started_at_s, live=live))


def found(monkeypatch: pytest.MonkeyPatch, standstills: list[tuple[float, float]], *faults: str) -> Findings:
    """Return what is found of calls that began at 0, 10 and 20 s."""
    monkeypatch.setattr(ExaminationDouble, "faults", faults)
    monkeypatch.setattr(invariants, "Examination", ExaminationDouble)
    people = [caller(f"{at_s}", at_s) for at_s in (0, 10, 20)]
    crowd = Crowd("", 1, people)
    crowd.standstills.spans = standstills
    findings = examine(crowd)
    assert findings.counts["calls"] == 3
    return findings


def test_call_is_late_unless_the_machine_stood_still_in_its_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """All servers are late then, however quick they are; calls before and after it tell as much as ever."""
    findings = found(monkeypatch, [(15.9, 17.0), (7.0, 9.0)], LATE)
    assert findings.violations == [(LATE, "call 0: found"), (LATE, "call 20: found")]
    assert findings.counts["calls excused, since the machine stood still"] == 1


def test_standstill_excuses_nothing_but_lateness(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause makes a server ack twice."""
    findings = found(monkeypatch, [(12.0, 13.0)], LATE, "one ack each")
    assert [text for name, text in findings.violations if name == "one ack each"] == [
        "call 0: found",
        "call 10: found",
        "call 20: found",
    ]


def test_standstill_in_calls_without_fault_needs_no_excuse(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many calls it was in."""
    assert not found(monkeypatch, [(1.0, 25.0)]).violations


def test_storm_of_which_half_the_calls_are_excused_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise one in which nothing was ever in time would be a good one."""
    (violation,) = [it for it in found(monkeypatch, [(5.0, 11.0)], LATE).violations if it[0] != LATE]
    assert violation == ("half of the calls are judged by the clock", "stood still for 6.0 s")


def looked(*looks: tuple[float, list[float]]) -> list[tuple[float, float]]:
    """Return the spans that are found by these looks: times, and what was stolen of each processor."""
    standstills = Standstills()
    for now_s, stolen_s in looks:
        standstills.look(now_s, stolen_s)
    return standstills.spans


def test_process_that_comes_late_to_its_look_stood_still() -> None:
    """By all but the time it wanted to sleep."""
    assert looked((10.0, []), (10.0 + LOOK_EVERY_S, []), (10.6, [])) == []
    assert looked((10.0, []), (10.0 + LOOK_EVERY_S + 0.75, [])) == [(10.0 + LOOK_EVERY_S, 10.0 + LOOK_EVERY_S + 0.75)]


def test_processor_that_the_host_takes_in_one_piece_stood_still() -> None:
    """A server may have been on it while this process looked on from another."""
    assert looked((10.0, [3.0, 5.0]), (10.05, [3.0, 5.0]), (10.1, [3.0, 5.75])) == [(10.1 - 0.75, 10.1)]


def test_what_is_stolen_in_slices_is_no_standstill() -> None:
    """A third of a processor for a second: slow, and no excuse."""
    assert looked(*((10.0 + at / 20, [at / 60]) for at in range(20))) == []

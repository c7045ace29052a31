"""Tells locust what became of a call, so that it stands in its page, its tables and its HTML report.

| type | name | is |
|---|---|---|
| ``call`` | script | length of a call; a failure is a call that did not go well |
| ``ack`` | kind of the hook | time to the ack; a failure is a missed deadline |
| ``margin`` | kind of the hook | what was left of jambonz's 5 s; the least of them counts |
| ``check`` | what is looked at | requests are what was looked at, failures what was wrong |

Margins and checks are rows of their own, and no requests: they count neither in locust's rates nor in its "Aggregated".
"""

from typing import Final

from locust.env import Environment

from jambonz_load.tally import ACK_DEADLINE_MS, Tally
from jambonz_simulator.core.records import CallResult

MISSED: Final = "hooks answered in time"
ORDER: Final = "acks in order"
TWICE: Final = "acks once"
LOST: Final = "commands not lost"


class CallFailed(Exception):
    """A call did not go well; the text says how, so that locust counts failures by their kind."""


class DeadlineMissed(Exception):
    """A hook was not answered in time."""


def tell(environment: Environment, result: CallResult) -> None:
    """Tell all about a finished call."""
    fire = environment.events.request.fire
    for hook in result.hooks:
        if hook.latency_s is not None:
            latency_ms = hook.latency_s * 1000
            fire(request_type="ack", name=hook.kind, response_time=latency_ms, response_length=0)
            environment.stats.get(hook.kind, "margin").log(ACK_DEADLINE_MS - latency_ms, 0)
        elif hook.dead_by == "timeout":
            missed = DeadlineMissed(hook.kind)
            fire(request_type="ack", name=hook.kind, response_time=ACK_DEADLINE_MS, response_length=0, exception=missed)
            environment.stats.get(hook.kind, "margin").log(0, 0)
    _check(environment, result)
    error = None if result.is_good else CallFailed(_kinds(result))
    duration_ms = result.duration_s * 1000
    fire(request_type="call", name=result.script, response_time=duration_ms, response_length=0, exception=error)


def _check(environment: Environment, result: CallResult) -> None:
    tally = Tally()
    tally.add(result)
    for name, looked_at, wrong in (
        (MISSED, tally.hooks, tally.deadline_misses + tally.unanswered_hooks),
        (ORDER, tally.hooks, tally.out_of_order),
        (TWICE, tally.hooks, tally.duplicate_acks + tally.late_acks),
        (LOST, tally.commands, tally.lost_commands),
    ):
        row = environment.stats.get(name, "check")
        for _ in range(looked_at):
            row.log(None, 0)
        for _ in range(wrong):
            environment.stats.log_error("check", name, f"not {name}")


def _kinds(result: CallResult) -> str:
    kinds = {result.outcome.kind, *(anomaly.kind for anomaly in result.anomalies)}
    return f"{' '.join(sorted(kinds))} {result.outcome.reason}".strip()

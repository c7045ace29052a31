"""Locust: calls of jambonz against a cluster, as an open stream. docs/how-to/load-test.md tells how to use it.

One user is one call per second: users do not wait for their calls to end, because callers do not wait for each other.
Variables: CALLS_PER_SECOND, MINUTES, SCENARIO, SHAPE, SPEED, ACK_P99_MS, FAILED_SHARE, BASIC_AUTH.
"""

import math
import os
import random
import sys
from typing import Any
from urllib.parse import quote

import gevent
from jambonz_load.playing import play_call
from jambonz_load.scenarios import SCENARIOS
from jambonz_load.shapes import SHAPES
from jambonz_load.tally import Limits, Tally, report
from locust import LoadTestShape, User, constant_throughput, events, task
from locust.env import Environment

from jambonz_simulator.core.records import CallResult

CALLS_PER_SECOND = float(os.environ.get("CALLS_PER_SECOND", "10"))
MINUTES = float(os.environ.get("MINUTES", "1"))
SCENARIO = SCENARIOS[os.environ.get("SCENARIO", "ivr")]
SHAPE = SHAPES[os.environ.get("SHAPE", "steady")]
SPEED = float(os.environ.get("SPEED", "1"))
LIMITS = Limits(float(os.environ.get("FAILED_SHARE", "0")), float(os.environ.get("ACK_P99_MS", "1000")))
BASIC_AUTH = os.environ.get("BASIC_AUTH", "")

# Beyond the length of a call, for reconnects and reaping.
END_LIMIT_S = SCENARIO.hold_s / SPEED + 30.0

TALLY = Tally()


class CallFailed(Exception):
    """A call did not go well; the text says how, so that locust counts failures by their kind."""


class DeadlineMissed(Exception):
    """A hook was not answered in time."""


class JambonzUser(User):  # type: ignore[misc]  # locust ships no types for its users
    """Starts one call per second."""

    wait_time = constant_throughput(1)

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._calls: set[gevent.Greenlet[[], None]] = set()

    def on_start(self) -> None:
        """Spread the users over the second: callers do not come in step."""
        gevent.sleep(random.random())  # noqa: S311  no secret

    @task  # type: ignore[untyped-decorator]
    def call(self) -> None:
        """Start a call, and do not wait for its end."""
        TALLY.started += 1
        greenlet = gevent.spawn(self._play)
        self._calls.add(greenlet)
        greenlet.link(self._calls.discard)

    def on_stop(self) -> None:
        """Let the calls that live end in peace."""
        gevent.joinall(list(self._calls), timeout=END_LIMIT_S)

    def _play(self) -> None:
        result = play_call(_url(str(self.host)), SCENARIO.script, SPEED)
        TALLY.add(result)
        self._tell(result)

    def _tell(self, result: CallResult) -> None:
        fire = self.environment.events.request.fire
        for hook in result.hooks:
            if hook.latency_s is not None:
                fire(request_type="ack", name=hook.kind, response_time=hook.latency_s * 1000, response_length=0)
            elif hook.dead_by == "timeout":
                missed = DeadlineMissed(hook.kind)
                fire(request_type="ack", name=hook.kind, response_time=5000, response_length=0, exception=missed)
        error = None if result.is_good else CallFailed(_kinds(result))
        duration_ms = result.duration_s * 1000
        fire(request_type="call", name=result.script, response_time=duration_ms, response_length=0, exception=error)


def _url(host: str) -> str:
    """Return where calls go, with user and password in front of the host as jambonz takes them, if any."""
    scheme, _, rest = host.rstrip("/").partition("://")
    user, _, password = BASIC_AUTH.partition(":")
    userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}@" if BASIC_AUTH else ""
    return f"{scheme}://{userinfo}{rest}{SCENARIO.path}"


def _kinds(result: CallResult) -> str:
    kinds = {result.outcome.kind, *(anomaly.kind for anomaly in result.anomalies)}
    return f"{' '.join(sorted(kinds))} {result.outcome.reason}".strip()


class CallsPerSecond(LoadTestShape):  # type: ignore[misc]
    """As many users as calls per second are due at this moment; the test ends by itself."""

    def tick(self) -> tuple[int, float] | None:
        """Return users and how fast they may come, None at the end."""
        share = self.get_run_time() / (60 * MINUTES)
        if share >= 1:
            return None
        users = max(1, math.ceil(SHAPE(share, CALLS_PER_SECOND)))
        return users, users


@events.init.add_listener  # type: ignore[untyped-decorator]
def be_patient(environment: Environment, **_: Any) -> None:
    """Give live calls the time to end."""
    environment.stop_timeout = END_LIMIT_S


@events.report_to_master.add_listener  # type: ignore[untyped-decorator]
def send_counts(client_id: str, data: dict[str, Any]) -> None:  # noqa: ARG001
    """Send what this process has counted since the last time."""
    data["jambonz"] = TALLY.taken()


@events.worker_report.add_listener  # type: ignore[untyped-decorator]
def take_counts(client_id: str, data: dict[str, Any]) -> None:  # noqa: ARG001
    """Add what a process has counted."""
    TALLY.merge(data["jambonz"])


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def judge(environment: Environment, **_: Any) -> None:
    """Say how it went; the exit code is 1 if a limit was broken."""
    if os.environ.get("LOCUST_MODE_WORKER") or "--worker" in sys.argv:
        return
    acks = [entry for (_, method), entry in environment.stats.entries.items() if method == "ack"]
    p99_ms = max((entry.get_response_time_percentile(0.99) or 0.0 for entry in acks), default=0.0)
    broken = LIMITS.broken(TALLY, p99_ms)
    sys.stdout.write(report(TALLY, p99_ms, broken))
    environment.process_exit_code = 1 if broken else 0

"""Locust: calls of jambonz against a cluster, as an open stream. docs/how-to/load-test.md tells how to use it.

One user is one call per second: users do not wait for their calls to end, because callers do not wait for each other.
Variables: CALLS_PER_SECOND, MINUTES, SCENARIO, SHAPE, SPEED, ACK_P99_MS, FAILED_SHARE, LATE_SHARE, STARTED_SHARE,
BASIC_AUTH, ANY_APP.
"""

import math
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gevent
from jambonz_load import lateness, ramp, tally
from jambonz_load.playing import play_call
from jambonz_load.scenarios import SCENARIOS, for_any_app
from jambonz_load.shapes import SHAPES
from jambonz_load.tally import Limits, Tally
from jambonz_load.telling import tell
from locust import LoadTestShape, User, constant_throughput, events, task
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner


def _one_of(variable: str, default: str, names: Iterable[str]) -> str:
    name = os.environ.get(variable, default)
    if name not in names:
        sys.exit(f"{variable}={name!r}: expected one of {', '.join(names)}")
    return name


CALLS_PER_SECOND = float(os.environ.get("CALLS_PER_SECOND", "10"))
MINUTES = float(os.environ.get("MINUTES", "1"))
SCENARIO = SCENARIOS[_one_of("SCENARIO", "ivr", SCENARIOS)]
# Another application than loadtest/application.py says other things.
SCRIPT = for_any_app(SCENARIO.script) if os.environ.get("ANY_APP", "0") != "0" else SCENARIO.script
SPEED = float(os.environ.get("SPEED", "1"))
LIMITS = Limits(
    failed_share=float(os.environ.get("FAILED_SHARE", "0")),
    ack_p99_ms=float(os.environ.get("ACK_P99_MS", "1000")),
    late_share=float(os.environ.get("LATE_SHARE", "0.01")),
    started_share=float(os.environ.get("STARTED_SHARE", "0.95")),
)
BASIC_AUTH = os.environ.get("BASIC_AUTH", "")

SHAPE_NAME = _one_of("SHAPE", "steady", (*SHAPES, "ramp"))
RAMP = ramp.Ramp(CALLS_PER_SECOND, 60 * MINUTES, SCENARIO.hold_s / SPEED, LIMITS) if SHAPE_NAME == "ramp" else None

# Beyond the length of a call, for reconnects and reaping.
END_LIMIT_S = SCENARIO.hold_s / SPEED + 30.0

TALLY = Tally()


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
        result = play_call(_url(str(self.host)), SCRIPT, SPEED)
        TALLY.add(result)
        tell(self.environment, result)


def _url(host: str) -> str:
    """Return where calls go, with user and password in front of the host as jambonz takes them, if any."""
    scheme, _, rest = host.rstrip("/").partition("://")
    user, _, password = BASIC_AUTH.partition(":")
    userinfo = f"{quote(user, safe='')}:{quote(password, safe='')}@" if BASIC_AUTH else ""
    return f"{scheme}://{userinfo}{rest}{SCENARIO.path}"


class CallsPerSecond(LoadTestShape):  # type: ignore[misc]
    """As many users as calls per second are due at this moment; the test ends by itself.

    Attributes:
        run_s: How long the test has run.
        due_calls: How many calls should have been started in that time.
    """

    run_s = 0.0
    due_calls = 0.0
    _due_per_s = 0.0

    def tick(self) -> tuple[int, float] | None:
        """Return users and how fast they may come, None at the end."""
        run_s = self.get_run_time()
        share = run_s / (60 * MINUTES)
        self.due_calls += self._due_per_s * (run_s - self.run_s)
        self.run_s = run_s
        if RAMP is not None:
            RAMP.see(run_s, ramp.Reading(time.time(), replace(TALLY), _ack_ms(self.runner.environment)))
        if share >= 1 or (RAMP is not None and RAMP.is_broken):
            return None
        due_per_s = RAMP.per_s(share) if RAMP is not None else SHAPES[SHAPE_NAME](share, CALLS_PER_SECOND)
        self._due_per_s = due_per_s
        users = max(1, math.ceil(due_per_s))
        return users, users


@events.init.add_listener  # type: ignore[untyped-decorator]
def begin(environment: Environment, **_: Any) -> None:
    """Give live calls the time to end; have an eye on this process, unless it makes no calls."""
    environment.stop_timeout = END_LIMIT_S
    if not isinstance(environment.runner, MasterRunner):
        gevent.spawn(lateness.watch, TALLY)


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
    """Say how it went; the exit code is 1 if a limit was broken, of a ramp if its first step broke one."""
    if isinstance(environment.runner, WorkerRunner):
        return
    acks = [entry for (_, method), entry in environment.stats.entries.items() if method == "ack"]
    p99_ms = max((entry.get_response_time_percentile(0.99) or 0.0 for entry in acks), default=0.0)
    sys.stdout.write(tally.report(TALLY, p99_ms))
    if RAMP is not None:
        sys.stdout.write(ramp.verdict(RAMP.steps))
        environment.process_exit_code = 0 if ramp.last_good(RAMP.steps) else 1
    else:
        shape = environment.shape_class
        run_s = max(shape.run_s, 1.0)
        broken = tally.judged(TALLY, LIMITS, p99_ms, asked_per_s=shape.due_calls / run_s, seconds=run_s)
        sys.stdout.write(tally.verdict(broken))
        environment.process_exit_code = 1 if broken else 0
    _write_tables(environment)


def _write_tables(environment: Environment) -> None:
    """Write what is ours beside locust's own tables, if it was asked for those."""
    prefix = environment.parsed_options.csv_prefix
    if not prefix:
        return
    counts = _ack_ms(environment)
    percentiles = {f"ack_p{100 * share:g}_ms": ramp.percentile_ms(counts, share) for share in (0.5, 0.95, 0.99, 0.999)}
    rate = {"started_per_s": TALLY.started / max(environment.shape_class.run_s, 1.0)}
    Path(f"{prefix}_jambonz.csv").write_text(tally.as_csv(TALLY, percentiles | rate))
    if RAMP is not None:
        Path(f"{prefix}_ramp.csv").write_text(ramp.as_csv(RAMP.steps))


def _ack_ms(environment: Environment) -> Counter[int]:
    """Return how many acks took how many milliseconds, rounded as locust does: three digits at 1 s, two below."""
    counts: Counter[int] = Counter()
    for (_, method), entry in environment.stats.entries.items():
        if method == "ack":
            counts.update(entry.response_times)
    return counts

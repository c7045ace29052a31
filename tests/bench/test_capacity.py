"""The capacity page is arithmetic over the committed unit costs, and says what the arithmetic says."""

from dataclasses import replace

import pytest

from tests.bench.capacity import PAGE, Traffic, UnitCosts, installation, redis_limit_per_s, written
from tests.bench.measure import Run
from tests.bench.medians import Medians

COSTS = UnitCosts(
    event_gateway_us=10,
    event_worker_us=5,
    event_redis_us=4,
    call_gateway_us=400,
    call_worker_us=200,
    call_redis_us=100,
    idle_gateway_us=1,
    idle_worker_us=0,
    idle_redis_us=0,
    memory_gateway_bytes=10_000,
    memory_worker_bytes=4_000,
    memory_redis_bytes=2_000,
    base_gateway_bytes=60e6,
    base_worker_bytes=60e6,
    base_redis_bytes=10e6,
    redis_keys_bytes=1_600,
    redis_event_bytes=2_000,
    busy_redis_us=4,
    source="by hand",
)
TRAFFIC = Traffic(events_per_call_s=0.1, call_s=100, fill=0.5, handler_us=100, calls_per_process=10_000)


def test_page_says_what_the_unit_costs_say() -> None:
    """Whoever changes one runs ``python -m tests.bench.capacity --write``."""
    page = PAGE.read_text()
    assert written(page, UnitCosts.read(), Traffic()) == page


def test_cores_are_events_starts_and_idle_calls() -> None:
    """100,000 calls: 10,000 events and 1,000 new calls a second."""
    made = installation(100_000, COSTS, TRAFFIC)
    assert made.gateway_cores == pytest.approx(0.1 + 0.4 + 0.1)
    assert made.worker_cores == pytest.approx(10_000 * 105e-6 + 1_000 * 300e-6)
    assert made.redis_cores == pytest.approx(0.04 + 0.1)


def test_processes_follow_the_scarcer_of_cpu_and_calls() -> None:
    """Half filled cores, and no more calls than a process takes."""
    assert installation(100_000, COSTS, TRAFFIC).gateways == 10
    assert installation(100_000, replace(COSTS, event_gateway_us=1_000), TRAFFIC).gateways == 21
    assert installation(10, COSTS, TRAFFIC).gateways == 1


def test_limit_of_one_redis_is_one_core() -> None:
    """It runs commands on one core."""
    assert redis_limit_per_s(COSTS) == 250_000


def test_unit_costs_need_every_load() -> None:
    """Half a benchmark makes no page."""
    with pytest.raises(LookupError, match="saturation"):
        UnitCosts.of(Medians([Run("x", "y", {})]), "x")

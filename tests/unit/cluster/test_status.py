"""What the status says, without a Redis."""

from jambonz_cluster.status import AppStatus, Process, Status, status_text
from jambonz_cluster.status_page import page_of

GATEWAY = Process("g1", "", "host", 7, calls=3, capacity=100, started_at_ms=1, silent_ms=40)
WORKER = Process("w1", "ivr", "host", 8, calls=2, capacity=50, started_at_ms=1, silent_ms=60)


def status(*, gateways: tuple[Process, ...] = (GATEWAY,), apps: tuple[AppStatus, ...] | None = None) -> Status:
    return Status(1000, gateways, (WORKER,), (AppStatus("ivr", 1, 0),) if apps is None else apps)


def test_cluster_that_takes_calls_has_no_problems() -> None:
    """An operator's script may rely on an empty list."""
    assert status().problems() == []


def test_missing_gateways_and_workers_are_problems() -> None:
    """Each of these loses calls, so each is named."""
    empty = status(gateways=(), apps=(AppStatus("ivr", 0, 4),))
    assert empty.problems() == ["no gateway lives", "no worker of the app 'ivr' lives"]
    assert status(apps=()).problems() == ["no app is known: start a worker"]


def test_silence_is_told_with_its_age() -> None:
    """A gateway that died a moment ago is looked for elsewhere than one that nobody has started."""
    silent = Status(1000, (), (), (AppStatus("ivr", 0, 4, silent_ms=90_400),), gateways_silent_ms=12_000)
    assert silent.problems() == [
        "no gateway lives: the last one was heard of 12 s ago",
        "no worker of the app 'ivr' lives: the last one was heard of 90 s ago",
    ]


def test_nobody_is_called_dead_while_heartbeats_are_refused() -> None:
    """It is Redis that has to be mended; starting gateways would be of no use."""
    refused = Status(1000, (), (), (AppStatus("ivr", 0, 4, silent_ms=90_400),), 12_000, "OOM")
    assert refused.problems() == [
        "Redis refuses heartbeats: OOM; who is silent may live all the same",
        "no gateway is heard of: the last one was heard of 12 s ago",
        "no worker of the app 'ivr' is heard of: the last one was heard of 90 s ago",
    ]


def test_text_names_every_process_and_what_waits() -> None:
    """One look at a terminal tells where the calls are."""
    lines = status_text(status(apps=(AppStatus("ivr", 1, 4),))).splitlines()
    assert lines[0] == "3 calls, 1 gateways, 1 workers"
    assert lines[1].startswith("gateway  g1  3 of 100 calls")
    assert lines[2].startswith("worker   w1  2 of 50 calls")
    assert lines[3] == "app      ivr: 1 workers, 4 events wait"


def test_page_escapes_what_processes_say_of_themselves() -> None:
    """A host name in Redis must not run in an operator's browser."""
    evil = Process("<script>", "", "host", 7, 0, 1, 1, 1)
    page = page_of(status(gateways=(evil,)))
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_page_without_redis_says_so() -> None:
    """The page is there when Redis is not: that is when it is looked at."""
    assert "Redis refuses: &lt;MISCONF&gt;" in page_of("Redis refuses: <MISCONF>")

"""What the doctor makes of what it sees."""

import dataclasses
import resource
import time
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner

from jambonz_cluster.cli import main
from jambonz_cluster.doctor.call_checks import Target, cure_of, judge
from jambonz_cluster.doctor.cures import cure_of_redis
from jambonz_cluster.doctor.examination import Case, first_path, process_findings, target_of
from jambonz_cluster.doctor.findings import Level, fail, is_well, ok, report_text, warn
from jambonz_cluster.doctor.machine_checks import certificate_finding, files_finding, queue_finding
from jambonz_cluster.doctor.redis_checks import server_findings
from jambonz_cluster.status import AppStatus, Process, Status
from jambonz_shared.config import GatewaySettings
from jambonz_shared.redis.admin import parse_info
from jambonz_simulator.core.records import HookRecord
from jambonz_workers import App, Call, Event
from tests.certificates import make_certificate

GOOD_INFO = (
    b"# Server\r\nredis_version:7.0.15\r\nrole:master\r\naof_enabled:1\r\n"
    b"maxmemory:1000\r\nmaxmemory_policy:noeviction\r\nused_memory:100\r\n"
)
PROCESS = Process("g1", "", "host", 1, calls=3, capacity=10, started_at_ms=0, silent_ms=0)
LIVING = Status(0, (PROCESS,), (dataclasses.replace(PROCESS, app="ivr"),), (AppStatus("ivr", 1, 0),))
IVR = App("ivr")


@IVR.session("/menu/{language}")
@IVR.session("/welcome")
async def welcome(call: Call, event: Event) -> None:
    """Say nothing."""


def levels(info: bytes) -> list[tuple[Level, str]]:
    return [(finding.level, finding.check) for finding in server_findings(parse_info(info))]


def test_report_has_a_line_for_each_finding_and_its_cure() -> None:
    """For people; a failure, and not a risk, sets the exit code."""
    findings = [ok("a", "well"), warn("b", "risky", "mend it")]
    assert report_text(findings) == "ok    a: well\nwarn  b: risky\n      -> mend it"
    assert is_well(findings)
    assert not is_well([*findings, fail("c", "broken", "mend it now")])
    assert findings[1].to_json() == {"level": "warn", "check": "b", "text": "risky", "cure": "mend it"}


def test_good_redis_is_well() -> None:
    """No line to worry about."""
    assert levels(GOOD_INFO) == [(Level.OK, "redis"), (Level.OK, "redis memory")]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param(b"7.0.15", b"5.0.7", (Level.FAIL, "redis"), id="too_old"),
        pytest.param(b"noeviction", b"allkeys-lru", (Level.WARN, "redis"), id="eviction"),
        pytest.param(b"aof_enabled:1", b"aof_enabled:0", (Level.WARN, "redis"), id="no_persistence"),
        pytest.param(b"master", b"slave", (Level.FAIL, "redis"), id="replica"),
        pytest.param(b"maxmemory:1000", b"maxmemory:0", (Level.WARN, "redis memory"), id="no_limit"),
        pytest.param(b"used_memory:100", b"used_memory:900", (Level.WARN, "redis memory"), id="nearly_full"),
    ],
)
def test_each_fault_of_redis_is_found(old: bytes, new: bytes, expected: tuple[Level, str]) -> None:
    """One fault, one line that is not well."""
    assert old in GOOD_INFO
    found = levels(GOOD_INFO.replace(old, new))
    assert [line for line in found if line[0] is not Level.OK] == [expected]


@pytest.mark.parametrize(
    ("limit", "level"), [(1024, Level.WARN), (10_100, Level.OK), (resource.RLIM_INFINITY, Level.OK)]
)
def test_file_descriptors_must_do_for_all_calls(limit: int, level: Level) -> None:
    """1,024 is what many systems give; a gateway would stop accepting at a thousand calls."""
    assert files_finding(limit, 10_000).level is level


def test_certificate_and_key_must_fit(tmp_path: Path) -> None:
    """A gateway would not start, or would go on with the old one."""
    one, other = make_certificate(tmp_path, "one"), make_certificate(tmp_path, "other")
    assert certificate_finding(str(one.certificate), str(one.key), time.time()).level is Level.OK
    assert certificate_finding(str(one.certificate), str(other.key), time.time()).level is Level.FAIL


@pytest.mark.parametrize(
    ("days_from_now", "level", "text"),
    [
        pytest.param(0, Level.OK, "fit, for 30 days", id="new"),
        pytest.param(25, Level.WARN, "expires in 5 days", id="renewal_forgotten"),
        pytest.param(40, Level.FAIL, "expired 10 days ago", id="expired"),
        pytest.param(-1, Level.FAIL, "not good yet", id="wrong_clock"),
    ],
)
def test_certificate_must_be_good_now(tmp_path: Path, days_from_now: int, level: Level, text: str) -> None:
    """With one that has expired the gateway runs, and no call comes in."""
    made = make_certificate(tmp_path, days=30)
    found = certificate_finding(str(made.certificate), str(made.key), time.time() + days_from_now * 86_400)
    assert found.level is level
    assert text in found.text


def test_short_accept_queue_is_a_risk() -> None:
    """128 was the kernel's default until 5.4."""
    assert queue_finding(128).level is Level.WARN
    assert queue_finding(4096).level is Level.OK


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        pytest.param(LIVING, [("ok", "gateways"), ("ok", "workers")], id="all_live"),
        pytest.param(
            dataclasses.replace(LIVING, gateways=()), [("fail", "gateways"), ("ok", "workers")], id="no_gateway"
        ),
        pytest.param(
            dataclasses.replace(LIVING, apps=(AppStatus("ivr", 0, 0),)),
            [("ok", "gateways"), ("fail", "workers")],
            id="no_worker",
        ),
        pytest.param(
            dataclasses.replace(LIVING, apps=(AppStatus("ivr", 1, 7),)),
            [("ok", "gateways"), ("warn", "workers")],
            id="events_wait",
        ),
        pytest.param(dataclasses.replace(LIVING, apps=()), [("ok", "gateways"), ("fail", "workers")], id="no_app"),
    ],
)
@pytest.mark.parametrize("app", [None, IVR], ids=["any_app", "this_app"])
def test_living_processes_are_counted(status: Status, expected: list[tuple[str, str]], app: App | None) -> None:
    """The named app only, or all that are known."""
    assert [(found.level.value, found.check) for found in process_findings(status, app)] == expected


def test_nobody_is_to_be_started_while_heartbeats_are_refused() -> None:
    """They live, as far as anybody knows; what has to be mended is Redis."""
    refused = Status(0, (), (), (AppStatus("ivr", 0, 0, silent_ms=9000),), 9000, "OOM")
    found = process_findings(refused, IVR)
    assert [(finding.level.value, finding.check) for finding in found] == [
        ("fail", "redis"), ("fail", "gateways"), ("fail", "workers"),
    ]  # fmt: skip
    assert "OOM" in found[0].text
    assert {finding.cure for finding in found[1:]} == {"mend Redis first"}


def answered_after(latency_s: float | None) -> HookRecord:
    acked_at_s = None if latency_s is None else 1.0 + latency_s
    return HookRecord("m", "session:new", None, 1, sent_at_s=1.0, acked_at_s=acked_at_s)


@pytest.mark.parametrize(
    ("hook", "level"),
    [
        pytest.param(answered_after(0.01), Level.OK, id="at_once"),
        pytest.param(answered_after(2.0), Level.WARN, id="slow_handler"),
        pytest.param(answered_after(4.0), Level.FAIL, id="fallback"),
        pytest.param(answered_after(None), Level.FAIL, id="never"),
        pytest.param(None, Level.FAIL, id="no_first_message"),
    ],
)
def test_first_answer_is_judged_by_its_time(hook: HookRecord | None, level: Level) -> None:
    """At 4 s it was the gateway that answered, because no worker has."""
    assert judge("ws://host/ivr", hook).level is level


@pytest.mark.parametrize(
    ("status", "level"), [pytest.param(500, Level.FAIL), pytest.param(404, Level.FAIL), pytest.param(486, Level.OK)]
)
def test_call_that_the_worker_declines_by_itself_is_no_good_answer(status: int, level: Level) -> None:
    """A handler that raises, and none at all; what the handler declines is its own business."""
    hook = dataclasses.replace(answered_after(0.01), data=[{"verb": "sip:decline", "status": status}])
    assert judge("ws://host/ivr", hook).level is level


@pytest.mark.parametrize(
    ("trouble", "cure"),
    [
        ("MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk.", "disk"),
        ("BUSY Redis is busy running a script.", "SCRIPT KILL"),
        ("NOREPLICAS", "min-replicas-to-write"),
        ("LOADING Redis is loading the dataset in memory", "wait"),
        ("max number of clients reached", "maxclients"),
        ("DENIED Redis is running in protected mode", "requirepass"),
        ("Error 1 connecting to r:1. [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "ssl_ca_certs"),
        ("no server of the Redis Cluster knows all slots: it is no Redis Cluster", "redis://"),
        ("Error 111 connecting to r:6379. Connection refused.", "JAMBONZ_CLUSTER_REDIS_URL"),
        ("Error connecting to r:6379.", "maxclients"),
        ("Error while reading from r:6379 : (104, 'Connection reset by peer')", "rediss://"),
    ],
)
def test_each_trouble_with_redis_has_its_own_cure(trouble: str, cure: str) -> None:
    """To have the URL mended does not help with a full disk."""
    assert cure in cure_of_redis(trouble)


def test_refused_heartbeats_have_the_cure_of_what_they_are_refused_with() -> None:
    """One cure of a list was to be picked by the reader, and some were not in it."""
    refused = Status(0, (), (), (AppStatus("ivr", 0, 0, silent_ms=9000),), 9000, "NOREPLICAS")
    assert process_findings(refused, None)[0].cure == cure_of_redis("NOREPLICAS")


def test_each_refusal_has_its_own_cure() -> None:
    """What is said of 401 does not help with 404."""
    cures = {cure_of(f"HTTP {status}") for status in (401, 404, 429, "?")}
    assert len(cures) == 4


def test_test_call_goes_to_the_gateway_of_these_settings() -> None:
    """With its credentials and an app's first plain path; 0.0.0.0 is no address to call."""
    settings = GatewaySettings.model_validate({"port": 4000, "basic_auth": "user:secret"})
    target = target_of(Case(settings, IVR, "", plays_call=True))
    assert target == Target("ws://user:secret@127.0.0.1:4000/ivr/welcome#rc=1", "http://127.0.0.1:8081/readyz")
    assert "secret" not in target.shown
    assert first_path(None) == first_path(App()) == "/"


def test_readyz_is_not_guessed_behind_a_url() -> None:
    """The internal port of another host is not reachable, and should not be."""
    settings = GatewaySettings(tls_certificate_file="x", internal_port=0)
    assert target_of(Case(settings, None, "", plays_call=True)) == Target(
        "wss://127.0.0.1:3000/#rc=1", "", is_guess=True
    )
    assert target_of(Case(GatewaySettings(), None, "ws://h/x", plays_call=True)) == Target("ws://h/x", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(("--url", "http://host/ivr"), "expected ws://host/path or wss://host:port/path", id="url"),
        pytest.param(("--port", "x"), "bad setting --port='x'", id="setting"),
        pytest.param(("nothing",), "bad application", id="application"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], said: str) -> None:
    """Before anything is looked at."""
    result = CliRunner().invoke(main, ["doctor", *arguments])
    assert result.exit_code == 2
    assert said in result.output


def test_redis_that_is_not_there_is_a_failure_with_a_cure() -> None:
    """The first thing that goes wrong on a new machine; nothing that follows from it is told."""
    arguments = ["doctor", "--json", "--redis-url", "redis://127.0.0.1:1", "--port", "0", "--internal-port", "0"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    [failed] = [finding for finding in orjson.loads(result.output) if finding["level"] == "fail"]
    assert failed["check"] == "redis"
    assert "JAMBONZ_CLUSTER_REDIS_URL" in failed["cure"]

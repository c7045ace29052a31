"""Settings: where values come from, and what a start with bad ones says."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from jambonz_shared.config import (
    BadSetting,
    BadSettings,
    GatewaySettings,
    WorkerSettings,
    load_settings,
    reference,
)
from jambonz_shared.environment import unknown_variables


def problems_of(environ: dict[str, str], **flags: object) -> list[BadSetting]:
    with pytest.raises(BadSettings) as caught:
        load_settings(GatewaySettings, flags, environ)
    return list(caught.value.problems)


def test_defaults_are_those_of_the_design() -> None:
    """Somebody who sets nothing gets the documented ports and a Redis on this machine."""
    settings = load_settings(GatewaySettings, environ={})
    assert (settings.port, settings.internal_port, settings.processes) == (3000, 8081, 1)
    assert (settings.redis_url, settings.key_prefix) == ("redis://127.0.0.1:6379/0", "jc:")
    assert (settings.ack_deadline_s, settings.max_event_bytes) == (4.0, 1024**2)
    assert load_settings(WorkerSettings, environ={}).internal_port == 8082


def test_flag_wins_over_environment_over_default() -> None:
    """What is typed last and nearest counts."""
    environ = {"JAMBONZ_CLUSTER_PORT": "4000", "JAMBONZ_CLUSTER_PROCESSES": "3"}
    settings = load_settings(GatewaySettings, {"port": 5000, "processes": None}, environ)
    assert (settings.port, settings.processes, settings.internal_port) == (5000, 3, 8081)


def test_variable_of_a_duration_has_no_unit_in_its_name() -> None:
    """The unit is part of the value: ACK_DEADLINE=250ms, not ACK_DEADLINE_S=0.25."""
    environ = {"JAMBONZ_CLUSTER_ACK_DEADLINE": "250ms", "JAMBONZ_CLUSTER_MAX_EVENT_BYTES": "24KiB"}
    settings = load_settings(GatewaySettings, environ=environ)
    assert (settings.ack_deadline_s, settings.max_event_bytes) == (0.25, 24_576)


def test_redis_url_without_prefix_is_honoured_but_the_prefixed_one_wins() -> None:
    """Platforms set REDIS_URL by themselves."""
    environ = {"REDIS_URL": "redis://platform"}
    assert load_settings(GatewaySettings, environ=environ).redis_url == "redis://platform"
    environ["JAMBONZ_CLUSTER_REDIS_URL"] = "redis://ours"
    assert load_settings(GatewaySettings, environ=environ).redis_url == "redis://ours"


def test_empty_variable_counts_as_not_set() -> None:
    """Compose files hand over empty variables for what nobody has set."""
    assert load_settings(GatewaySettings, environ={"JAMBONZ_CLUSTER_PORT": ""}).port == 3000


def test_secret_is_read_from_a_file(tmp_path: Path) -> None:
    """Container secrets are files; their last newline is not part of the password."""
    secret = tmp_path / "auth"
    secret.write_text("jambonz:pass:word\n")
    settings = load_settings(GatewaySettings, environ={"JAMBONZ_CLUSTER_BASIC_AUTH_FILE": str(secret)})
    assert settings.basic_auth == SecretStr("jambonz:pass:word")


def test_all_bad_settings_are_listed_at_once(tmp_path: Path) -> None:
    """One start tells everything that has to be mended."""
    environ = {
        "JAMBONZ_CLUSTER_PROCESSES": "0",
        "JAMBONZ_CLUSTER_ACK_DEADLINE": "6s",
        "JAMBONZ_CLUSTER_MAX_EVENT_BYTES": "lots",
        "JAMBONZ_CLUSTER_LOG_FORMAT": "xml",
        "JAMBONZ_CLUSTER_BASIC_AUTH_FILE": str(tmp_path / "absent"),
        "REDIS_URL": "http://:hunter2@wrong",
    }
    assert sorted(map(str, problems_of(environ, port=70000))) == [
        "--port='70000': expected a whole number, 0 to 65535",
        "JAMBONZ_CLUSTER_ACK_DEADLINE='6s': expected a duration such as 250ms, 4s or 2m, 100ms to 4.9s",
        f"JAMBONZ_CLUSTER_BASIC_AUTH_FILE='{tmp_path / 'absent'}': expected a file that can be read",
        "JAMBONZ_CLUSTER_LOG_FORMAT='xml': expected one of text, json",
        "JAMBONZ_CLUSTER_MAX_EVENT_BYTES='lots': expected a size such as 512B, 24KiB or 1MiB, 4KiB to 16MiB",
        "JAMBONZ_CLUSTER_PROCESSES='0': expected a whole number, 1 to 256",
        "REDIS_URL=(secret): expected a URL such as redis://host:6379/0 or rediss://:password@host",
    ]


def test_secret_is_never_shown() -> None:
    """A start-up log is read by more people than may know the password."""
    settings = load_settings(
        GatewaySettings, environ={"JAMBONZ_CLUSTER_BASIC_AUTH": "u:hunter2", "REDIS_URL": "redis://:hunter2@h"}
    )
    assert "hunter2" not in f"{settings!r} {settings}"
    [problem] = problems_of({"JAMBONZ_CLUSTER_BASIC_AUTH": "hunter2"})
    assert str(problem) == "JAMBONZ_CLUSTER_BASIC_AUTH=(secret): expected user:password"


def test_secret_given_twice_is_refused() -> None:
    """Nobody has to guess which of two passwords counts."""
    name = "JAMBONZ_CLUSTER_BASIC_AUTH"
    [problem] = problems_of({name: "u:p", f"{name}_FILE": "/somewhere"})
    assert problem == BadSetting(f"{name}_FILE", "/somewhere", f"to be absent, since {name} is set too")


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        pytest.param(
            {"lease_s": 0.6},
            "--lease='600ms': expected at least twice JAMBONZ_CLUSTER_HEARTBEAT",
            id="lease_near_heartbeat",
        ),
        pytest.param(
            {"internal_port": 65535, "processes": 2},
            "--internal-port='65535': expected a port that leaves room for 2 processes below 65536",
            id="no_room_for_ports",
        ),
        pytest.param(
            {"max_event_bytes": 2 * 1024**2},
            "--max-event-bytes='2MiB': expected no more than JAMBONZ_CLUSTER_MAX_HELD_CALL_BYTES",
            id="event_over_held_call",
        ),
        pytest.param(
            {"max_held_bytes": 1024**2, "max_held_call_bytes": 2 * 1024**2},
            "--max-held-call-bytes='2MiB': expected no more than JAMBONZ_CLUSTER_MAX_HELD_BYTES",
            id="call_over_process",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags: dict[str, object], problem: str) -> None:
    """Two good values can still be a bad pair."""
    assert [str(one) for one in problems_of({}, **flags)] == [problem]


def test_default_that_contradicts_is_named_by_its_variable() -> None:
    """The value to change may be one that nobody has set."""
    [problem] = problems_of({}, heartbeat_s=1.5)
    assert str(problem) == "JAMBONZ_CLUSTER_LEASE='2s': expected at least twice JAMBONZ_CLUSTER_HEARTBEAT"


def test_worker_checks_its_lease_and_ports_too() -> None:
    """Both kinds of process hold a lease and offer internal ports."""
    with pytest.raises(BadSettings) as caught:
        load_settings(WorkerSettings, {"lease_s": 0.5, "internal_port": 65535, "processes": 9}, {})
    assert [problem.name for problem in caught.value.problems] == ["--lease", "--internal-port"]


def test_each_process_has_its_own_internal_port() -> None:
    """A scraper has to reach each process, and 0 switches all of them off."""
    assert [GatewaySettings().internal_port_of(i) for i in range(3)] == [8081, 8082, 8083]
    assert GatewaySettings(internal_port=0).internal_port_of(2) == 0
    assert WorkerSettings().internal_port_of(1) == 8083
    assert WorkerSettings(internal_port=0).internal_port_of(1) == 0


def test_unknown_field_is_refused_in_code() -> None:
    """A misspelt keyword argument is a programmer's mistake."""
    with pytest.raises(ValidationError):
        GatewaySettings.model_validate({"prot": 1})


def test_misspelt_variables_are_found() -> None:
    """A variable that nobody reads is worth a warning."""
    environ = {
        "JAMBONZ_CLUSTER_PROT": "1",
        "JAMBONZ_CLUSTER_BASIC_AUTH_FILE": "x",
        "JAMBONZ_CLUSTER_LEASE": "2s",
        "A": "",
    }
    assert unknown_variables([GatewaySettings, WorkerSettings], environ) == ["JAMBONZ_CLUSTER_PROT"]


def test_reference_has_a_sentence_and_a_default_for_every_setting() -> None:
    """The documentation is generated from here."""
    rows = {row.name: row for row in reference(GatewaySettings)}
    assert set(rows) == set(GatewaySettings.model_fields)
    assert all(row.description.endswith(".") for row in rows.values())
    assert rows["ack_deadline_s"].default == "4s"
    assert rows["ack_deadline_s"].variable == "JAMBONZ_CLUSTER_ACK_DEADLINE"
    assert rows["basic_auth"].default == ""
    assert rows["basic_auth"].is_secret
    assert rows["max_calls"].type == "a whole number, 1 or more"

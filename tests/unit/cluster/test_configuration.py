"""`jambonz-cluster config`: bad settings, effective ones and where they come from, the reference."""

import re
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from jambonz_cluster.cli import main
from jambonz_cluster.configuration import environment_text, markdown_text
from jambonz_shared.config import GatewaySettings, WorkerSettings
from jambonz_shared.credentials import SecretHash
from jambonz_shared.environment import variable_of

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "settings.md"


def run(*arguments: str, stdin: str | None = None, **environ: str) -> Result:
    return CliRunner().invoke(main, ["config", *arguments], env=environ, input=stdin, prog_name="jambonz-cluster")


def test_reference_of_settings_is_fresh() -> None:
    """Who changes a setting runs `jambonz-cluster config env --format markdown > docs/reference/settings.md`."""
    assert REFERENCE.read_text() == markdown_text()


def test_check_lists_every_bad_setting_of_both_roles_once() -> None:
    """One run tells everything that has to be mended; misspelt variables too."""
    environ = {"LEASE": "1ms", "PROCESSES": "0", "PING_INTERVAL": "lots", "PROT": "1"}
    result = run("check", "--port", "x", **{f"JAMBONZ_CLUSTER_{name}": value for name, value in environ.items()})
    assert result.exit_code == 2
    assert sorted(result.output.splitlines()) == [
        "bad setting --port='x': expected a whole number, 0 to 65535",
        "bad setting JAMBONZ_CLUSTER_LEASE='1ms': expected a duration such as 250ms, 4s or 2m, 200ms or more",
        "bad setting JAMBONZ_CLUSTER_PING_INTERVAL='lots': expected a duration such as 250ms, 4s or 2m, 1s to 5m",
        "bad setting JAMBONZ_CLUSTER_PROCESSES='0': expected a whole number, 1 to 256",
        "warning: JAMBONZ_CLUSTER_PROT is no setting of jambonz-cluster; it is ignored",
    ]


def test_check_of_one_role_leaves_the_other_alone() -> None:
    """A worker's machine does not have the gateway's files."""
    environ = {"JAMBONZ_CLUSTER_CREDENTIALS_FILE": "/nowhere/credentials"}
    assert run("check", "--role", "worker", **environ).exit_code == 0
    result = run("check", "--role", "gateway", **environ)
    assert result.exit_code == 2
    assert "JAMBONZ_CLUSTER_CREDENTIALS_FILE='/nowhere/credentials': expected a file with lines" in result.output
    assert "it cannot be read" in result.output


def test_check_finds_a_redis_url_that_parses_but_cannot_be_used() -> None:
    """The start would fail later, with a less helpful sentence."""
    result = run("check", JAMBONZ_CLUSTER_REDIS_URL="redis+sentinel://hosts-without-service")
    assert result.exit_code == 2
    assert result.output.count("bad setting") == 1
    assert "redis+sentinel://[user:password@]host[:port][,...]/service[/db]" in result.output


def test_print_tells_where_each_value_comes_from_and_no_secret() -> None:
    """It answers why a process does not do what somebody has set."""
    kept = SecretHash.of("x", bytes(16), log2_n=0)
    environ = {
        "REDIS_URL": "redis://jambonz:hunter2@redis:6379/1",
        "JAMBONZ_CLUSTER_BASIC_AUTH": "user:hunter2",
        "JAMBONZ_CLUSTER_CREDENTIALS": f"ivr:acme:{kept}",
        "JAMBONZ_CLUSTER_ACK_DEADLINE": "3500ms",
    }
    result = run("print", "--json", "--port", "4000", **environ)
    assert result.exit_code == 0, result.output
    assert "hunter2" not in result.output
    assert str(kept) not in result.output
    rows = {row["name"]: (row["value"], row["origin"]) for row in orjson.loads(result.output)["gateway"]}
    assert rows["redis_url"] == ("redis://redis:6379/1", "REDIS_URL")
    assert rows["basic_auth"] == ("(secret)", "JAMBONZ_CLUSTER_BASIC_AUTH")
    assert rows["credentials"] == ("(secret)", "JAMBONZ_CLUSTER_CREDENTIALS")
    assert rows["port"] == ("4000", "--port")
    assert rows["ack_deadline_s"] == ("3.5s", "JAMBONZ_CLUSTER_ACK_DEADLINE")
    assert rows["drain_timeout_s"] == ("30s", "default")
    text = run("print", "--role", "worker", **environ).output
    assert text.startswith("# worker\nJAMBONZ_CLUSTER_REDIS_URL=redis://redis:6379/1  # REDIS_URL\n")
    assert "# gateway" not in text


def test_print_shows_where_a_redis_cluster_is() -> None:
    """Every kind of Redis has a name without a password."""
    result = run("print", "--role", "worker", REDIS_URL="redis+cluster://:hunter2@a:7000,b:7000")
    assert "JAMBONZ_CLUSTER_REDIS_URL=redis+cluster://a:7000,b:7000 " in result.output
    assert "hunter2" not in result.output


def test_print_of_bad_settings_lists_them() -> None:
    """There is no effective value of a bad setting."""
    result = run("print", JAMBONZ_CLUSTER_LEASE="0s")
    assert result.exit_code == 2
    assert result.output.startswith("bad setting JAMBONZ_CLUSTER_LEASE")


def test_environment_file_has_every_setting_and_changes_nothing() -> None:
    """It is filled in by taking # away; as it is every line is a comment."""
    text = environment_text()
    names = [*GatewaySettings.model_fields, *WorkerSettings.model_fields]
    assert set(re.findall(r"(?m)^#(JAMBONZ_CLUSTER_\w+)=", text)) == {variable_of(name) for name in names}
    assert all(not line or line.startswith("#") for line in text.splitlines())
    assert run("env").output == text
    assert run("env", "--format", "markdown").output == markdown_text()


@pytest.mark.parametrize(
    ("arguments", "stdin", "problem"),
    [
        pytest.param(("ivr", "acme"), "", "expected a secret", id="no_secret"),
        pytest.param(("i vr", "acme"), "s\n", "expected names of apps", id="bad_app"),
        pytest.param(("ivr", "ac:me"), "s\n", "got 4 parts", id="colon_in_the_user"),
    ],
)
def test_line_that_the_gateway_would_refuse_is_not_made(arguments: tuple[str, str], stdin: str, problem: str) -> None:
    """Better here than at the start of the gateway."""
    result = run("hash-secret", *arguments, stdin=stdin)
    assert result.exit_code == 2
    assert problem in result.output


def test_secret_of_a_line_that_cannot_be_used_is_not_told() -> None:
    """Somebody would hand it on."""
    result = run("hash-secret", "i vr", "acme", "--generate")
    assert result.exit_code == 2
    assert "secret" not in result.output


@pytest.mark.parametrize("is_flag", [True, False])
def test_url_that_is_cut_wrongly_is_told_where_it_was_given(is_flag: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "redis://u:pa/ss@host:6379/0"
    if not is_flag:
        monkeypatch.setenv("JAMBONZ_CLUSTER_REDIS_URL", url)
    result = run("check", *(("--redis-url", url) if is_flag else ()))
    name = "--redis-url" if is_flag else "JAMBONZ_CLUSTER_REDIS_URL"
    assert result.output.startswith(f"bad setting {name}: Redis URL: expected user:password@host:port")


def test_line_made_from_standard_input_holds_the_hash_of_the_secret_without_its_newline() -> None:
    """`echo` appends one."""
    line = run("hash-secret", "*", "ops", stdin="hunter2\n").output.strip()
    assert line.startswith("*:ops:scrypt.14.")
    assert SecretHash.parse(line.split(":")[2]).matches("hunter2")

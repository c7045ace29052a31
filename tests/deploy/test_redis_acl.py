"""The Redis user of deploy/redis/start.sh may do what the cluster needs, and nothing else."""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from jambonz_cluster.doctor.redis_checks import name_of, probes
from jambonz_cluster.embedded_redis import find_redis_server
from jambonz_simulator import CallOptions, simulate_call
from tests.cluster_fixture import REPO, ClusterFactory
from tests.conditions import until, until_now
from tests.ports import free_row

# What redis-py sends, or a scaler's client, before anything of ours.
OF_A_CONNECTION = {"auth", "hello", "select"}

PASSWORD = "not>~a &rule"  # characters that mean something in an ACL file


@pytest.fixture
def restricted_url(tmp_path: Path) -> Iterator[str]:
    """A Redis started by the script; paths and port are moved to where a test may write."""
    port = free_row(1)
    script = (REPO / "deploy/redis/start.sh").read_text()
    script = script.replace("/tmp/users.acl", f"{tmp_path}/users.acl").replace("--port 6379", f"--port {port}")
    script = script.replace("--dir /data", f"--dir {tmp_path} --bind 127.0.0.1").replace(
        "exec redis-server", f"exec {find_redis_server()}"
    )
    environ = {
        **os.environ,
        "REDIS_USER": "jambonz",
        "REDIS_PASSWORD": PASSWORD,
        "REDIS_MAXMEMORY": "64mb",
        "KEY_PREFIX": "jc:",
    }
    process = subprocess.Popen(["sh", "-c", script], env=environ, stdout=subprocess.DEVNULL)
    try:
        with redis.Redis(port=port, username="jambonz", password=PASSWORD) as client:

            def answers() -> bool:
                assert process.poll() is None, "redis-server does not take the configuration"
                try:
                    return bool(client.ping())
                except redis.ConnectionError:
                    return False

            until_now(answers, "the restricted Redis answers")
        yield f"redis://jambonz:{_quoted(PASSWORD)}@127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait(10)


def _quoted(text: str) -> str:
    from urllib.parse import quote

    return quote(text, safe="")


# What redis-py tells of itself at each connect; it does without.
HARMLESS = {"cmdstat_client|setinfo"}


def refused_commands(url: str) -> set[str]:
    """Return the commands that Redis has refused to anybody."""
    with redis.Redis.from_url(url) as client:
        stats = client.info("commandstats")
    return {name for name, values in stats.items() if values.get("rejected_calls", 0)} - HARMLESS


async def test_cluster_runs_with_the_restricted_user(restricted_url: str, tmp_path: Path) -> None:
    """Calls, a worker's death and adoption, a drain: nothing of it is refused."""
    factory = ClusterFactory(restricted_url, tmp_path)
    try:
        running = await factory("examples.ivr:app", gateways=1, workers=2)
        options = CallOptions(speed=20)
        results = [await simulate_call(f"{running.url}/ivr", "hello", options) for _ in range(2)]
        assert [result.is_good for result in results] == [True, True]
        running.workers[0].kill()
        with redis.Redis.from_url(restricted_url) as client:
            await until(lambda: len(client.zrange("jc:workers", 0, -1)) == 1, "the dead worker is adopted")
    finally:
        await factory.stop()
    assert refused_commands(restricted_url) == set()


@pytest.mark.parametrize(
    "words", ["FLUSHALL", "CONFIG GET maxmemory", "KEYS *", "GET other:key", "CLIENT LIST", "ACL LIST"]
)
def test_restricted_user_is_refused_everything_else(restricted_url: str, words: str) -> None:
    """Who steals the password can harm this cluster, but not the server or its other users."""
    with redis.Redis.from_url(restricted_url) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*words.split())


def test_restricted_user_may_read_the_lag_for_keda(restricted_url: str) -> None:
    """Its trigger redis-streams scales workers by it."""
    with redis.Redis.from_url(restricted_url) as client:
        client.xgroup_create("jc:dispatch:{default}", "workers", mkstream=True)
        assert client.xinfo_groups("jc:dispatch:{default}")[0]["name"] == b"workers"


def test_built_in_user_is_off(restricted_url: str) -> None:
    """Nobody gets in without the password."""
    url = restricted_url.replace(f"jambonz:{_quoted(PASSWORD)}@", "")
    with redis.Redis.from_url(url) as client, pytest.raises(redis.exceptions.AuthenticationError):
        client.ping()


def allowed_commands() -> set[str]:
    return set(re.findall(r"(?<=[\s\"])\+([a-z|]+)", (REPO / "deploy/redis/start.sh").read_text()))


def test_user_may_run_every_command_that_the_sources_name() -> None:
    """A new command that is missing here shows itself when a worker dies, and only in a real deployment."""
    used: set[str] = set()
    for script in (REPO / "shared/jambonz_shared/redis/lua").glob("*.lua"):
        used |= set(re.findall(r"redis\.p?call\('([A-Z]+)'", script.read_text()))
    for folder in ("gateway", "workers", "cluster/jambonz_cluster"):
        for source in (REPO / folder).rglob("*.py"):
            used |= set(re.findall(r"(?:call|send)\(\s*(?:[\w.]+,\s*)?b\"([A-Z]+)\"", source.read_text()))
    assert len(used) > 20
    assert {name.lower() for name in used} - {name.partition("|")[0] for name in allowed_commands()} == set()


def test_user_may_run_no_command_that_no_source_names() -> None:
    """Whoever steals the password must not have more than the cluster needs; the doctor would ask for it, too."""
    sources = [
        path for folder in ("shared/jambonz_shared/redis", "gateway", "workers") for path in (REPO / folder).rglob("*")
    ]
    texts = [path.read_text() for path in sources if path.suffix in {".py", ".lua"}]
    named = {name.lower() for text in texts for name in re.findall(r"[\"'n]([A-Z]{3,})[\"'\\]", text)}
    assert {name.partition("|")[0] for name in allowed_commands()} - named - OF_A_CONNECTION == set()


def test_doctor_tries_every_command_that_the_user_of_compose_may_run() -> None:
    """Two lists of the same thing: what the doctor finds missing is what the deployment allows."""
    # What belongs to a connection, or needs one of its own.
    untried = {*OF_A_CONNECTION, "subscribe", "unsubscribe"}
    # KEDA's alone, which reads the lag as this user (deploy/kubernetes/overlays/keda).
    untried.add("xinfo|groups")
    assert {name_of(command) for command in probes("x")} == allowed_commands() - untried

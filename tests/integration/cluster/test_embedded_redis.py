"""A Redis server of our own, started for real."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from jambonz_cluster import embedded_redis
from jambonz_cluster.embedded_redis import (
    Appendfsync,
    EmbeddedRedis,
    NoRedisServer,
    bundled_redis_server,
    find_redis_server,
    free_port,
    installed_redis_server,
    version_of,
)
from tests.conditions import until_now


def test_server_answers_on_loopback_and_leaves_nothing() -> None:
    """A developer's machine is as it was once `dev` has ended."""
    server = EmbeddedRedis()
    with server:
        client = redis.Redis.from_url(server.url)
        folder = Path(str(client.config_get("dir")["dir"]))
        assert client.config_get("bind")["bind"] == "127.0.0.1"
        assert client.config_get("appendonly")["appendonly"] == "no"
        assert folder.exists()
        client.close()
    assert not server.is_running
    assert not folder.exists()


async def test_server_starts_without_holding_up_the_loop() -> None:
    """`dev` starts it while other tasks run."""
    server, ticks = EmbeddedRedis(), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    ticking = asyncio.create_task(tick())
    try:
        await server.start_async()
        assert ticks > 1
    finally:
        ticking.cancel()
        server.stop()


@pytest.mark.parametrize(
    ("appendfsync", "value"), [pytest.param("always", b"1", id="durable"), pytest.param(None, None, id="not")]
)
def test_restarted_server_keeps_its_port_and_what_is_durable(
    appendfsync: Appendfsync | None, value: bytes | None
) -> None:
    """Tests kill Redis with data and without."""
    with EmbeddedRedis(appendfsync=appendfsync) as server:
        port, pid = server.port, server.pid
        with redis.Redis.from_url(server.url) as client:
            client.set("k", 1)
        server.restart()
        assert (server.port, server.pid != pid) == (port, True)
        with redis.Redis.from_url(server.url) as client:
            assert client.get("k") == value


def test_port_taken_at_the_last_moment_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between looking for a free port and using it, somebody else may be quicker."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = [taken.getsockname()[1], free_port()]
        offered = iter(ports)
        monkeypatch.setattr(embedded_redis, "free_port", lambda: next(offered))
        with EmbeddedRedis() as server:
            assert server.port == ports[1]


def test_server_that_cannot_start_tells_its_last_words(tmp_path: Path) -> None:
    """The reason is in its log, which is about to be removed."""
    script = tmp_path / "redis-server"
    script.write_text(f"#!{sys.executable}\nimport sys\nopen(sys.argv[-1], 'w').write('out of luck')\n")
    script.chmod(0o755)
    server = EmbeddedRedis(script)
    with pytest.raises(NoRedisServer, match="ended at its start; it said: out of luck"):
        server.start()
    server.stop()


def test_server_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever for a broken binary, and it does not stay."""
    monkeypatch.setattr(embedded_redis, "START_LIMIT_S", 1.0)
    monkeypatch.setattr(embedded_redis, "STOP_LIMIT_S", 0.05)
    script = tmp_path / "redis-server"
    # An ignored signal stays ignored across exec, so the shell leaves no child behind.
    script.write_text("#!/bin/sh\ntrap '' TERM\nexec sleep 600\n")
    script.chmod(0o755)
    server = EmbeddedRedis(script)
    with pytest.raises(NoRedisServer, match=r"gave no answer for 1 s; it said: nothing"):
        server.start()
    server.stop()
    assert not server.is_running


def test_stop_without_start_is_harmless() -> None:
    """Clean-up code need not know how far the start came."""
    EmbeddedRedis().stop()


def test_too_old_or_absent_server_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 5.0 on PATH would fail later, at the first XADD NOMKSTREAM."""
    script = tmp_path / "redis-server"
    script.write_text("#!/bin/sh\necho 'Redis server v=5.0.14 sha=0'\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert version_of(script) == (5, 0)
    assert installed_redis_server() is None
    assert find_redis_server() == bundled_redis_server()
    monkeypatch.setattr(embedded_redis, "bundled_redis_server", lambda: None)
    with pytest.raises(NoRedisServer, match="apt-get install redis-server"):
        find_redis_server()


def test_file_that_is_no_redis_has_no_version(tmp_path: Path) -> None:
    """Anything can be called redis-server."""
    text = tmp_path / "redis-server"
    text.write_text("hello")
    assert version_of(text) is None
    assert version_of(Path("/bin/true")) is None


def test_bundled_server_is_absent_without_its_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that bundles it is optional."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert bundled_redis_server() is None


OWNER = """
from jambonz_cluster.embedded_redis import EmbeddedRedis
server = EmbeddedRedis()
server.start()
print(server.pid, flush=True)
input()
"""


def test_server_dies_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    """A test run that is killed leaves no server behind."""
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        server = psutil.Process(int(owner.stdout.readline()))
        assert server.is_running()
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait(20)
    until_now(lambda: not server.is_running() or server.status() == psutil.STATUS_ZOMBIE, "the server has ended")

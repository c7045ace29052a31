"""The Redis fixtures keep what they promise to every other test."""

import socket

import pytest
import redis

from tests.ports import free_row
from tests.redis_cluster import RedisCluster, can_run
from tests.redis_servers import KeyLeakGuard, available


@pytest.fixture
def client(redis_url: str) -> redis.Redis:
    return redis.Redis.from_url(redis_url, decode_responses=True)


@pytest.fixture
def guard(client: redis.Redis, key_leak_guard: KeyLeakGuard) -> KeyLeakGuard:
    """A guard to be asked by hand; the one of this test itself is off, since these tests leak on purpose."""
    key_leak_guard.is_active = False
    return KeyLeakGuard(key_leak_guard.redis_url)


@pytest.mark.both_redis
def test_marked_test_runs_against_every_version(client: redis.Redis, request: pytest.FixtureRequest) -> None:
    """What works on the newest Redis only is found here."""
    version = str(client.info("server")["redis_version"])
    assert version.startswith("6.2" if request.node.callspec.params["redis_server"] == "oldest" else ("6.2", "7", "8"))


def test_two_versions_are_tested() -> None:
    """A machine that lacks one of them shows it as a failure, not as a quiet gap."""
    assert list(available()) == ["newest", "oldest"]


@pytest.mark.parametrize("attempt", [1, 2])
def test_each_test_finds_an_empty_redis(client: redis.Redis, guard: KeyLeakGuard, attempt: int) -> None:
    """Tests pass in any order."""
    assert client.keys() == []
    client.set("stray", attempt)


def test_key_without_ttl_is_a_leak(client: redis.Redis, guard: KeyLeakGuard) -> None:
    """P8: every key is permanent by name or has a TTL."""
    client.set("jc:inbox:{w1}", "x")
    assert guard.leaks() == ["jc:inbox:{w1}: neither permanent by name nor expiring"]


def test_key_of_a_call_is_a_leak_even_if_it_expires(client: redis.Redis, guard: KeyLeakGuard) -> None:
    """P8: when a call has ended, nothing of it stays, not even for an hour."""
    client.set("jc:call:{c1}", "x", ex=60)
    assert guard.leaks() == ["jc:call:{c1}: left behind, expires in 60 s"]
    guard.allow("jc:call:*", because="this test says so")
    assert guard.leaks() == []


def test_entry_in_a_dispatch_stream_is_a_leak(client: redis.Redis, guard: KeyLeakGuard) -> None:
    """An event that nobody handled is an event that was lost."""
    client.xadd("jc:dispatch:{ivr}", {"e": "x"})
    assert guard.leaks() == ["jc:dispatch:{ivr}: a dispatch stream has to be empty, 1 entries are left"]


def test_permanent_and_process_keys_may_stay(client: redis.Redis, guard: KeyLeakGuard) -> None:
    """Manifests stay for ever, keys of processes until their lease ends."""
    client.set("jc:app:{ivr}", "{}")
    client.sadd("jc:apps", "ivr")
    client.zadd("jc:workers", {"w1": 1})
    client.set("jc:worker:{w1}", "x", ex=2)
    client.xgroup_create("jc:dispatch:{ivr}", "workers", mkstream=True)
    assert guard.leaks() == []


@pytest.mark.long
@pytest.mark.skipif(not can_run(), reason="needs redis-server 7.0 on PATH")
def test_redis_cluster_whose_bus_port_is_taken_starts_on_other_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports are looked for before they are used; on a crowded machine somebody else may be quicker."""
    taken = free_row(12)
    rows = iter([taken, free_row(12)])
    monkeypatch.setattr("tests.redis_cluster.free_row", lambda _: next(rows))
    with socket.create_server(("127.0.0.1", taken + 6)), RedisCluster() as cluster:
        assert cluster.servers[0].port not in range(taken, taken + 12)
        assert len(cluster.masters()) == 3

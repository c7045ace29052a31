"""Which server has a key, and what a command looks like in a cluster."""

from typing import Any

import pytest
from redis.exceptions import RedisError

from jambonz_shared.keys import Keys
from jambonz_shared.redis import script
from jambonz_shared.redis.cluster.slots import SlotTable, routed, slot_of
from jambonz_shared.redis.cluster.topology import ClusterUrl, Topology
from jambonz_shared.redis.connect import OneRedis, RedisCluster, backend_of
from jambonz_shared.redis.endpoint import Address

KEYS = Keys()
ASKED = Address("10.0.0.9", 7000)


def node(host: str | None, port: int) -> list[Any]:
    return [host.encode() if host else None, port, b"0123", []]


def test_all_keys_of_a_call_lie_in_one_slot() -> None:
    """A script may touch one slot only; the channel is published by scripts."""
    assert slot_of(KEYS.call("a")) == slot_of(KEYS.chan("a"))


def test_all_keys_that_are_deleted_or_renamed_together_lie_in_one_slot() -> None:
    """DEL, UNLINK and RENAME of several keys are refused otherwise."""
    assert len({slot_of(key) for key in KEYS.of_worker("w1")}) == 1
    assert slot_of(KEYS.gateway("g1")) == slot_of(KEYS.held("g1"))


def test_slots_are_those_of_the_specification() -> None:
    """The example of the Redis Cluster specification: CRC16 of 123456789 is 0x31C3."""
    assert slot_of("123456789") == 0x31C3
    assert slot_of("foo{123456789}bar") == slot_of(b"123456789")


@pytest.mark.parametrize(
    ("command", "key", "sent"),
    [
        ((b"XADD", "k", b"*"), "k", (b"XADD", "k", b"*")),
        ((b"XGROUP", b"CREATE", "k", b"g"), "k", (b"XGROUP", b"CREATE", "k", b"g")),
        ((b"PUBLISH", "c", b"m"), "c", (b"SPUBLISH", "c", b"m")),
        ((b"PUBSUB", b"NUMSUB", "c"), "c", (b"PUBSUB", b"SHARDNUMSUB", "c")),
    ],
    ids=["plain", "key_behind_a_subcommand", "publish", "subscribers"],
)
def test_command_goes_where_its_key_is(command: tuple[Any, ...], key: str, sent: tuple[Any, ...]) -> None:
    """And speaks of sharded channels."""
    assert routed(command) == (key, sent)


@pytest.mark.parametrize(
    "command",
    [(b"TIME",), (b"PUBSUB", b"NUMSUB", "a", "b"), (b"GET", 7)],
    ids=["of_a_server", "two_channels", "number_for_a_key"],
)
def test_command_without_one_key_is_a_mistake(command: tuple[Any, ...]) -> None:
    """No server would be the right one."""
    with pytest.raises(TypeError):
        routed(command)


def test_table_names_the_master_of_each_slot() -> None:
    """A server without a name is the one that was asked."""
    table = SlotTable.of([[0, 99, node("a", 1), node("b", 2)], [100, 16383, node(None, 3)]], ASKED)
    assert (table.owners[99], table.owners[100]) == (Address("a", 1), Address("10.0.0.9", 3))
    assert table.masters == {Address("a", 1), Address("10.0.0.9", 3)}
    assert table.servers == table.masters | {Address("b", 2)}
    assert table.owner("123456789") == Address("10.0.0.9", 3)


def test_table_with_a_hole_is_weather() -> None:
    """A cluster that is being made, or has lost a master for good."""
    with pytest.raises(RedisError, match="16284 slots"):
        SlotTable.of([[0, 99, node("a", 1)]], ASKED)


def test_address_is_read_as_redis_writes_it() -> None:
    """MOVED 3999 host:port, with bare IPv6."""
    assert Address.parse("127.0.0.1:6381") == Address("127.0.0.1", 6381)
    assert Address.parse("::1:6381") == Address("::1", 6381)
    assert str(Address("::1", 6381)) == "[::1]:6381"


def test_cluster_url_has_its_parts() -> None:
    """Login and options are those of every server."""
    parts = ClusterUrl.parse("rediss+cluster://u:p%40@a,b:1,[::1]:2/0?socket_keepalive=yes")
    assert parts.seeds == (Address("a", 6379), Address("b", 1), Address("::1", 2))
    assert parts.server == ("rediss://u:p%40@", "/0?socket_keepalive=yes")
    assert Topology("redis+cluster://u:secret@a,b:1/").name == "redis+cluster://a:6379,b:1"


@pytest.mark.parametrize(
    "url",
    ["redis+cluster:///0", "redis+cluster://a,/0", "redis+cluster://a/1", "redis://a"],
    ids=["no_host", "empty_host", "database", "other_scheme"],
)
def test_bad_cluster_url_is_refused_at_once(url: str) -> None:
    """As for any URL."""
    with pytest.raises(ValueError, match="Redis URL"):
        ClusterUrl.parse(url)


def test_backend_is_chosen_by_the_scheme() -> None:
    """One setting, every kind of Redis."""
    assert isinstance(backend_of("redis://a"), OneRedis)
    assert isinstance(backend_of("redis+sentinel://a/calls"), OneRedis)
    assert isinstance(backend_of("rediss+cluster://a"), RedisCluster)


@pytest.mark.parametrize("one", script.ALL, ids=lambda one: one.name)
def test_script_of_a_cluster_publishes_to_the_shard_only(one: script.Script) -> None:
    """A plain PUBLISH would go to every server of the cluster, and to no subscriber of ours."""
    other = script.sharded(one)
    assert b"'PUBLISH'" not in other.source
    assert other.source.count(b"'SPUBLISH'") == one.source.count(b"'PUBLISH'")
    assert (other.sha != one.sha) == (b"'PUBLISH'" in one.source)

"""The Link to a real Redis Cluster: every command at the right server, and nothing lost without a word."""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from jambonz_shared.keys import Keys
from jambonz_shared.redis import script
from jambonz_shared.redis.admin import why_unreachable
from jambonz_shared.redis.cluster import link as cluster_link
from jambonz_shared.redis.cluster.channels import ClusterChannels
from jambonz_shared.redis.cluster.link import ClusterLink
from jambonz_shared.redis.cluster.topology import Topology
from jambonz_shared.redis.connect import backend_of
from jambonz_shared.redis.errors import LinkDown
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import (
    Attach,
    Attached,
    CallKeys,
    Claimed,
    Committed,
    Ownership,
    acked_args,
    attach_args,
    attach_reply,
    claim_args,
    claim_reply,
    commit_args,
    commit_reply,
)
from tests.conditions import until
from tests.integration.redis.conftest import Running, failures_of
from tests.redis_cluster import RedisCluster, can_run, move_slot

pytestmark = pytest.mark.skipif(not can_run(), reason="needs redis-server 7.0 on PATH")

KEYS = Keys()


@pytest.fixture
async def link(redis_cluster: RedisCluster, running: Running) -> ClusterLink:
    """A Link to the whole cluster that is up."""
    link = ClusterLink(Topology(redis_cluster.url))
    running(link.run())
    await asyncio.wait_for(link.wait_up(), 10)
    return link


async def test_commands_go_to_the_master_of_their_key(redis_cluster: RedisCluster, link: ClusterLink) -> None:
    """Keys of a hundred calls lie on three masters, and one client reads what was written."""
    replies = await asyncio.gather(*(link.call(b"SET", KEYS.call(f"c{i}"), i, b"PX", 60_000) for i in range(100)))
    assert replies == [b"OK"] * 100
    read = await asyncio.gather(*(link.call(b"GET", KEYS.call(f"c{i}")) for i in range(100)))
    assert read == [str(i).encode() for i in range(100)]
    held = [server.client.dbsize() for server in redis_cluster.masters()]
    assert sum(held) == 100
    assert min(held) > 10
    assert link.node_of(KEYS.call("c1")) in link.nodes
    assert len(link.nodes) == 3


async def test_scripts_of_a_call_run_and_publish_on_the_shard_of_its_slot(
    redis_cluster: RedisCluster, link: ClusterLink
) -> None:
    """The call channel is a sharded one: only the servers of its slot hear what a commit says."""
    call = CallKeys.of(KEYS, "c1")
    pubsub = redis_cluster.client().pubsub()  # type: ignore[no-untyped-call]
    pubsub.ssubscribe(call.chan)
    await until(lambda: pubsub.get_sharded_message() is not None, "subscribed")
    attach = Attach("g1", "ivr", "/ivr", "main", 60_000)
    assert isinstance(attach_reply(await link.script_call(script.ATTACH, *attach_args(call, attach))), Attached)
    claimed = claim_reply(await link.script_call(script.CLAIM, *claim_args(call, "w1", "ivr")))
    assert isinstance(claimed, Claimed)
    ownership = Ownership(call, "w1", claimed.fence, 60_000)
    assert commit_reply(await link.script_call(script.COMMIT, *commit_args(ownership, (1, 1), b"batch"))) == Committed(
        1
    )
    said: list[bytes] = []

    def has_heard() -> bool:
        message = pubsub.get_sharded_message()
        said.extend([message["data"]] if message and message["type"] == "smessage" else [])
        return b"D1\nbatch" in said

    await until(has_heard, "the batch on the channel")
    assert [message[:1] for message in said] == [b"N", b"O", b"D"]
    pubsub.close()


async def test_command_without_a_key_is_refused_as_a_mistake(link: ClusterLink) -> None:
    """Each server has a clock and clients of its own."""
    with pytest.raises(TypeError, match="no command for a cluster"):
        await link.call(b"TIME")


async def test_ping_comes_behind_everything(link: ClusterLink) -> None:
    """Who waits for all that was sent before asks this."""
    replies: list[Any] = []
    for i in range(50):
        link.send(replies.append, b"SET", KEYS.call(f"c{i}"), i, b"PX", 60_000)
    assert await link.call(b"PING") == b"PONG"
    assert replies == [b"OK"] * 50


async def test_callbacks_that_raise_are_told_whichever_server_called(
    redis_cluster: RedisCluster, running: Running
) -> None:
    """Of all servers and of their channels: who counts them need not know that there are many."""
    topology = Topology(redis_cluster.url)
    link = ClusterLink(topology)
    failures = failures_of(link)
    running(link.run())
    await asyncio.wait_for(link.wait_up(), 10)

    def fail(_: object) -> None:
        raise LookupError

    sids = [f"c{i}" for i in range(30)]
    for sid in sids:
        link.send(fail, b"SET", KEYS.call(sid), sid, b"PX", 60_000)
    await link.call(b"PING")
    assert len(failures) == 30
    channels = ClusterChannels(topology, link, "jc:canary:{p}")
    running(channels.run())
    ready: list[str] = []
    for sid in sids:
        channels.subscribe(KEYS.chan(sid).encode(), fail, partial(ready.append, sid))
    await until(lambda: len(ready) == 30, "all are subscribed")
    for sid in sids:
        await link.call(b"PUBLISH", KEYS.chan(sid), b"x")
    await until(lambda: len(failures) == 60, "the failures of all channels are told")


@pytest.fixture
def steps(redis_cluster: RedisCluster) -> Iterator[Iterator[str]]:
    """The slot of the call ``c1`` on its way to another master; it is taken there at the end of the test."""
    key = KEYS.call("c1")
    target = next(server for server in redis_cluster.masters() if server is not redis_cluster.master_of(key))
    moving = move_slot(redis_cluster, key, target)
    yield moving
    for _ in moving:
        pass


async def test_slot_that_moves_delays_commands_and_loses_none(link: ClusterLink, steps: Iterator[str]) -> None:
    """``redis-cli --cluster reshard`` under load: ASK, TRYAGAIN, MOVED; counters show each command once, in order."""
    call, keys = KEYS.call("c1"), CallKeys.of(KEYS, "c1")
    await link.script_call(script.ATTACH, *attach_args(keys, Attach("g1", "ivr", "/ivr", "main", 60_000)))
    replies: list[Any] = []
    downs: list[None] = []
    link.on_down(lambda: downs.append(None))

    def add() -> None:
        link.send(replies.append, b"HINCRBY", call, b"x", 1)

    add()
    for _ in steps:
        for _ in range(3):
            add()
        acked = link.script_call(script.ACKED, *acked_args(keys))
        attach = Attach("g2", "ivr", "/ivr", "side", 60_000)
        attached = link.script_call(script.ATTACH, *attach_args(keys, attach))
        await asyncio.wait([attached], timeout=0.2)
        assert await acked == 1
    sent = 1 + 3 * 3
    await until(lambda: len(replies) == sent, "every command has been answered")
    assert replies == list(range(1, sent + 1))
    assert isinstance(attach_reply(await attached), Attached)
    assert not downs


async def test_killed_master_is_replaced_and_nothing_is_lost_without_a_word(
    redis_cluster: RedisCluster, link: ClusterLink
) -> None:
    """Kill -9: the link goes down at once, tells of each command what became of it, and finds the replica."""
    events: list[str] = []
    link.on_down(lambda: events.append("down"))
    link.on_up(lambda: events.append("up"))
    key = KEYS.call("c1")
    await link.call(b"SET", key, b"before", b"PX", 60_000)
    await until(lambda: redis_cluster.master_of(key).ask("WAIT", 1, 100) >= 0, "replicated")
    redis_cluster.master_of(key).kill()
    await until(lambda: not link.is_up, "the loss is noticed")
    with pytest.raises(LinkDown) as caught:
        await link.call(b"SET", key, b"gap", b"PX", 60_000)
    assert not caught.value.sent
    await asyncio.wait_for(link.wait_up(), 30)
    assert events == ["down", "up"]
    assert await link.call(b"GET", key) == b"before"
    assert await link.call(b"SET", key, b"after", b"PX", 60_000) == b"OK"
    assert link.connects == 2


@pytest.mark.sources_only(because="a compiled function cannot be replaced")
async def test_master_that_is_lost_while_the_others_are_asked_is_noticed(
    redis_cluster: RedisCluster, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the link would be up without it, and nobody would ask who has taken its place."""
    lost: list[Link] = []
    must_be_well = cluster_link._must_be_well

    async def is_lost_then(server: Link) -> None:
        await must_be_well(server)
        if not lost:
            lost.append(server)
            assert server._wire is not None
            server._wire.drop("test")

    monkeypatch.setattr(cluster_link, "_must_be_well", is_lost_then)
    link = ClusterLink(Topology(redis_cluster.url))
    up: list[bool] = []
    link.on_up(lambda: up.extend(node.is_up for node in link.nodes))
    running(link.run())
    await asyncio.wait_for(link.wait_up(), 10)
    assert len(lost) == 1
    assert up == [True, True, True]


async def test_cancelled_link_tells_all_that_wait(redis_cluster: RedisCluster) -> None:
    """A process that ends leaves nobody waiting."""
    link = ClusterLink(Topology(redis_cluster.url))
    task = asyncio.create_task(link.run())
    await link.wait_up()
    replies: list[Any] = []
    link.send(replies.append, b"SET", KEYS.call("c1"), b"1", b"PX", 60_000)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert len(replies) == 1
    assert not link.is_up


async def test_cluster_that_refuses_the_login_is_told_by_its_word(
    redis_cluster: RedisCluster, running: Running
) -> None:
    """It is whole; what is wrong is the password."""
    url = redis_cluster.url.replace("://", "://nobody:wrong@")
    link = backend_of(url).link("link")
    running(link.run())
    await until(lambda: link.refusal == "WRONGPASS", "the cluster has refused")
    assert (await why_unreachable(url, "jc:apps")).startswith("WRONGPASS ")

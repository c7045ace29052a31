"""Calls handed from one app of a cluster to another, through real gateways, workers and Redis (ADR 0012)."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from jambonz_shared.credentials import Credential, SecretHash
from jambonz_shared.redis.errors import LinkDown
from jambonz_simulator import CallOptions, LiveCall, Script, live_call
from jambonz_workers import CallGone, Calls
from tests.cluster_fixture import Cluster, ClusterFactory, Member
from tests.conditions import until

APPS = "tests.apps.handing"
FAST = CallOptions(speed=20)


async def two_apps(
    cluster: ClusterFactory, *, gateways: int = 1, firsts: int = 1, seconds: int = 1, credentials: str = ""
) -> Cluster:
    """Return a cluster with workers of both apps, those of the first one before the others."""
    settings = {"JAMBONZ_CLUSTER_CREDENTIALS": credentials} if credentials else {}
    others = [f"{APPS}:second"] * seconds
    return await cluster(f"{APPS}:first", gateways=gateways, workers=firsts, others=others, settings=settings)


@asynccontextmanager
async def call_of(running: Cluster, options: CallOptions = FAST, login: str = "") -> AsyncIterator[LiveCall]:
    """Give a call that the first app has answered; it hands it over to ``/second`` at the last gateway."""
    variables = {"SECOND_URL": f"ws://{login}{running.gateways[-1].url.removeprefix('ws://')}/second?x=1"}
    async with live_call(f"{running.url}/first", Script(env_vars=variables), options) as call:
        await call.wait_for_verb("pause")
        yield call


async def transferred(call: LiveCall) -> None:
    await call.send_hook("/hand")
    await call.wait_for_hook(kind="session:redirect")


async def has_said(running: Cluster, worker: int, text: str) -> None:
    await until(lambda: text in running.workers[worker].log_text, f"worker {worker} says {text!r}")


async def answers(call: LiveCall, asked: int) -> None:
    """Ask over the newest socket, and check that the second app answers with its state."""
    hook = await call.send_hook("/ask")
    assert hook.verbs == [{"verb": "tag", "data": {"asked": asked, "app": "second"}}]


async def ends_well(call: LiveCall) -> None:
    call.hang_up()
    result = await call.wait_for_end()
    assert result.is_good, result.anomalies


@pytest.mark.cluster_too(others_are_long=True)
async def test_a_transfer_moves_the_call_and_nothing_else(cluster: ClusterFactory, redis_url: str) -> None:
    """The second app gets what it was given, no more; the first one is told, lets go, and warns of nothing."""
    running = await two_apps(cluster, gateways=2)
    async with Calls.connect(redis_url) as calls, call_of(running) as call:
        sid = call.call_sid
        await transferred(call)
        given = "{'given': {'n': 9007199254740993, 'none': []}}"
        await has_said(running, 1, f"took it at /second with {given}, env {{}}, from {Script().from_number}")
        await has_said(running, 0, f"cancelled: call '{sid}' was handed to the app 'second'")
        await has_said(running, 0, "CallTransferred at /first")
        remote = await calls.get(sid)
        assert (remote.app, remote.path, await remote.state()) == (
            "second", "/second", {"given": {"n": 2**53 + 1, "none": []}},
        )  # fmt: skip
        # From outside, commands go by call_sid, whoever asks, and to the websocket on which jambonz takes them.
        outcome = await remote.redirect([{"verb": "pause", "length": 7}])
        assert outcome.kind.value == "sent"
        await call.wait_for("the new verb runs", lambda it: (it.current_verb or {}).get("length") == 7)
        await answers(call, 1)
        await ends_well(call)
    await has_said(running, 1, f"second {sid}: ended")
    await has_said(running, 1, "status completed epoch 1")
    for member in running.members:
        assert "WARNING" not in member.log_text, member.log_text
        assert "ERROR" not in member.log_text, member.log_text
    assert "ended" not in running.workers[0].log_text


async def test_a_call_goes_there_and_back(cluster: ClusterFactory) -> None:
    """Each transfer needs a consent of its own; the line that was left is closed and not opened again."""
    running = await two_apps(cluster)
    async with call_of(running) as call:
        await transferred(call)
        await call.send_hook("/back", {"url": f"{running.url}/first/again"})
        await call.wait_for_hook(kind="session:redirect", count=2)
        await has_said(running, 0, "back with {'returned': True}")
        await has_said(running, 1, "call transferred to another app")
        await call.send_hook("/hand", {"url": f"{running.url}/second"})
        await call.wait_for_hook(kind="session:redirect", count=3)
        await answers(call, 1)
        await ends_well(call)
        assert call.core.world.ledger.sockets == 4
    await has_said(running, 1, f"second {call.call_sid}: ended")


async def test_a_worker_that_dies_before_the_call_has_moved_loses_nothing(
    cluster: ClusterFactory, redis_url: str
) -> None:
    """The consent is in Redis: the worker that adopts the call has it, and the second app takes the call from it."""
    running = await two_apps(cluster, firsts=2)
    async with Calls.connect(redis_url) as calls, call_of(running, CallOptions(speed=1)) as call:
        await call.send_hook("/hand", {"talk_s": 4})
        remote = await calls.get(call.call_sid)
        # The process id is a part of the worker's.
        next(worker for worker in running.workers[:2] if f"-{worker.pid}-" in remote.owner).kill()

        async def is_adopted() -> bool:
            again = await calls.get(call.call_sid)
            return again.app == "first" and again.owner not in {"", remote.owner}

        await until(is_adopted, "the other worker of the first app owns the call")
        await call.wait_for_hook(kind="session:redirect")
        await has_said(running, 2, "took it at /second")
        await answers(call, 1)
        await ends_well(call)


async def test_workers_of_the_first_app_that_die_later_take_nothing_back(cluster: ClusterFactory) -> None:
    """Their adopters leave the call with its owner."""
    running = await two_apps(cluster)
    async with call_of(running) as call:
        await transferred(call)
        await has_said(running, 0, "call transferred to another app")
        running.workers[0].kill()
        await has_said(running, 1, "adopted a dead process")
        await answers(call, 1)
        await ends_well(call)
    await has_said(running, 1, f"second {call.call_sid}: ended")


async def test_a_worker_of_the_second_app_that_dies_is_adopted_by_its_own(cluster: ClusterFactory) -> None:
    """Not by those of the first app, from whom the call came."""
    running = await two_apps(cluster, seconds=1)
    async with call_of(running) as call:
        await transferred(call)
        await answers(call, 1)
        await running.add_worker().wait_ready()
        running.workers[1].kill()
        await has_said(running, 2, f"second {call.call_sid}: taken over")
        await answers(call, 2)
        await ends_well(call)


@pytest.mark.cluster_too(others_are_long=True)
async def test_a_worker_of_the_second_app_that_dies_before_it_has_begun_leaves_nothing_to_take_over(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    """What the first app did is not its beginning: with a takeover told, too, background work would run twice."""
    gate = tmp_path / "gate"
    running = await two_apps(cluster, seconds=2)
    async with call_of(running) as call:
        await call.send_hook("/hand", {"given": {"gate": str(gate)}})

        def waiting() -> list[Member]:
            return [worker for worker in running.workers if "waits at the gate" in worker.log_text]

        await until(lambda: bool(waiting()), "a worker of the second app has the call")
        (victim,) = waiting()
        victim.kill()
        gate.touch()
        heir = running.workers[3 - running.workers.index(victim)]
        await until(lambda: "took it at /second" in heir.log_text, "the other one begins")
        await call.wait_for_hook(kind="session:redirect")
        await answers(call, 1)
        await ends_well(call)
    await until(lambda: f"second {call.call_sid}: ended" in heir.log_text, "the call has ended there")
    assert "taken over" not in heir.log_text


@pytest.mark.parametrize("victim", [0, 1], ids=["older_line", "newer_line"])
async def test_a_gateway_that_dies_after_the_transfer_loses_neither_line(
    cluster: ClusterFactory, redis_url: str, victim: int
) -> None:
    """Each line comes back with the login of its own app; events of both go to the second app's worker.

    The newer one comes back at once, the older one when jambonz has a status to tell (call-session.js, handover).
    """
    logins = [
        Credential(frozenset({app}), app, SecretHash.of("s", os.urandom(16), log2_n=0)) for app in ("first", "second")
    ]
    running = await two_apps(cluster, gateways=2, credentials="\n".join(map(str, logins)))
    options = CallOptions(speed=20, credentials=("first", "s"))
    async with Calls.connect(redis_url) as calls, call_of(running, options, "second:s@") as call:
        await transferred(call)
        await answers(call, 1)
        running.gateways[victim].kill()
        await running.gateways[victim].restart()
        if victim == 1:
            await call.wait_for_hook(kind="session:reconnect")
        await answers(call, 2)
        remote = await calls.get(call.call_sid)
        assert (remote.app, remote.path) == ("second", "/second")
        assert (await remote.redirect([{"verb": "pause", "length": 7}])).kind.value == "sent"
        await call.wait_for("the command was followed", lambda it: (it.current_verb or {}).get("length") == 7)
        await ends_well(call)
    await has_said(running, 1, "status completed")
    # Its keys go with it.
    await until(
        lambda: any("adopted a dead process" in worker.log_text for worker in running.workers), "the gateway is buried"
    )


async def test_redis_that_comes_back_empty_learns_where_the_call_is(cluster: ClusterFactory, redis_url: str) -> None:
    """Gateways and the second app's worker write it down again, the first app has nothing to say in it."""
    running = await two_apps(cluster, gateways=2)
    async with Calls.connect(redis_url) as calls, call_of(running) as call:
        await transferred(call)
        await answers(call, 1)
        redis = Redis.from_url(redis_url)
        await redis.flushall()
        for kind in ("normal", "pubsub"):
            await redis.client_kill_filter(_type=kind, skipme=True)
        await redis.aclose()

        async def is_known() -> bool:
            try:
                remote = await calls.get(call.call_sid)
                return remote.app == "second" and (await remote.state()).get("asked") == 1
            except (CallGone, LinkDown):
                return False

        await until(is_known, "Redis knows the call again")
        await answers(call, 2)
        await ends_well(call)
    await has_said(running, 1, f"second {call.call_sid}: ended")

"""A Call goes from one app to another: attach, claim and restore against real servers (architecture.md section 6)."""

import time
from typing import Any

import orjson
import pytest
import redis.asyncio

from jambonz_shared.redis import script
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import (
    Attached,
    Changes,
    Claimed,
    Fenced,
    OtherApp,
    Ownership,
    restore_args,
    restore_reply,
)
from jambonz_shared.redis.scripts.recovery import Memory, Restored
from tests.integration.redis.desk import GRACE_MS, Desk

pytestmark = pytest.mark.both_redis

# JSON that no Lua number or table could hold as it is.
ODD = b'{"n":9007199254740993,"none":[],"nothing":{},"text":"\\u001f"}'


@pytest.fixture
async def desk(link: Link, client: redis.asyncio.Redis) -> Desk:
    return Desk(link, client)


def consent(app: str = "sales", *, for_ms: int = 60_000, **state: bytes) -> bytes:
    """Return what a worker writes (jambonz_workers.transfer)."""
    until_ms = time.time_ns() // 1_000_000 + for_ms
    handed = {name: json.decode() for name, json in state.items()}
    return orjson.dumps({"app": app, "until_ms": until_ms, "facts": '{"from":"1"}', "state": handed})


async def consented(desk: Desk, given: bytes) -> Ownership:
    """Return the owner of a call of ``ivr`` that has consented, and has state of its own."""
    await desk.attach()
    owner = await desk.owned()
    await desk.commit(owner, 1, 1, changes=Changes(b'{"env_vars":{}}', "", {"secret": b"1", "@transfer": given}))
    return owner


async def taken(desk: Desk, **fields: Any) -> Attached | OtherApp:
    return await desk.attach(**({"app": "sales", "line": "side", "path": "/sales", "gateway_id": "g2"} | fields))


async def restored(desk: Desk, owner: Ownership, app: str, **state: bytes) -> Restored | Fenced:
    args = restore_args(owner, Memory(app, state=state), GRACE_MS)
    return restore_reply(await desk.link.script_call(script.RESTORE, *args))


async def test_consent_takes_the_call_to_the_other_app_once(desk: Desk) -> None:
    """It changes its app and its path, keeps facts and state that were given only, and loses its owner."""
    owner = await consented(desk, consent(given=ODD))
    await desk.listen()
    attached = await taken(desk)
    assert isinstance(attached, Attached)
    assert (attached.epoch, attached.app, attached.owner, attached.former_owner) == (2, "sales", "", "w1")
    assert attached.fence > owner.fence
    assert await desk.heard() == [b"Asales", b"O%d\x1f" % attached.fence, b"N2\x1fside"]
    assert await desk.commit(owner, 1, 2, b"batch") == Fenced("")
    claimed = await desk.claim("w2", app="sales")
    assert isinstance(claimed, Claimed)
    record = claimed.record
    assert (record.app, record.path, record.gateway, record.facts) == ("sales", "/sales", "g2", b'{"from":"1"}')
    assert {name: json for name, json in record.state.items() if not name.startswith("@")} == {"given": ODD}
    assert record.committed == {1: 1}
    assert orjson.loads(record.state["@since"]) == {"epoch": 2, "fence": owner.fence}
    # Used up: the next one needs another.
    assert await taken(desk, app="ivr") == OtherApp("sales")


@pytest.mark.parametrize(
    ("for_ms", "fields"),
    [
        pytest.param(60_000, {"app": "thief"}, id="another_app"),
        pytest.param(60_000, {"line": "main"}, id="not_by_a_redirect"),
        pytest.param(60_000, {"line": "leg"}, id="as_a_leg"),
        pytest.param(60_000, {"epoch_known": 7}, id="as_if_it_were_attached"),
        pytest.param(-1000, {}, id="too_late"),
        pytest.param(None, {}, id="none"),
    ],
)
async def test_no_other_connection_takes_the_call(desk: Desk, for_ms: int | None, fields: dict[str, Any]) -> None:
    """Nobody reaches a call of another application without its word (P9)."""
    # The consent is made here: one that was made when tests were collected might be too late for any of them.
    await consented(desk, b"" if for_ms is None else consent(for_ms=for_ms))
    before = await desk.client.hgetall(desk.keys.call)
    assert await taken(desk, **fields) == OtherApp("ivr")
    assert await desk.client.hgetall(desk.keys.call) == before


async def test_each_transfer_tells_anew_since_when_the_call_is_its_apps(desk: Desk) -> None:
    """Of a call that comes back, what was committed on its first visit and elsewhere is not what it has begun now."""
    await consented(desk, consent())
    await taken(desk)
    second = await desk.owned("w2", app="sales")
    await desk.commit(second, 2, 1, changes=Changes(state={"@transfer": consent("ivr")}))
    back = await taken(desk, app="ivr")
    assert isinstance(back, Attached)
    claimed = await desk.claim("w1")
    assert isinstance(claimed, Claimed)
    assert orjson.loads(claimed.record.state["@since"]) == {"epoch": back.epoch, "fence": second.fence}
    assert (back.epoch, claimed.record.committed) == (3, {1: 1, 2: 1})


async def test_older_line_comes_back_to_the_call_and_is_passed_over(desk: Desk) -> None:
    """jambonz reconnects it at the first app's path; events come in there, commands do not go out."""
    await consented(desk, consent())
    await taken(desk)
    await desk.claim("w2", app="sales")
    again = await desk.attach(gateway_id="g3", is_reconnect=True)
    assert isinstance(again, Attached)
    assert (again.epoch, again.app, again.owner, again.is_passed_over) == (3, "sales", "w2", True)
    assert again.live_epochs == (2, 3)
    assert (await desk.field("path"), await desk.field("gateway")) == (b"/sales", b"g2")
    back = await taken(desk, is_reconnect=True)
    assert isinstance(back, Attached)
    assert (back.is_passed_over, back.former_owner, back.live_epochs) == (False, "", (3, 4))


async def test_older_line_that_was_attached_before_learns_the_app(desk: Desk) -> None:
    """Its gateway has missed the notice; it attaches again with the app that it knows."""
    await consented(desk, consent())
    await taken(desk)
    again = await desk.attach(epoch_known=1)
    assert isinstance(again, Attached)
    assert again.app == "sales"


async def test_worker_cannot_claim_a_call_of_another_app(desk: Desk) -> None:
    """An event that was in a wrong stream is handed on, not run."""
    await desk.attach()
    before = await desk.client.hgetall(desk.keys.call)
    assert await desk.claim("w9", app="sales") == OtherApp("ivr")
    assert await desk.client.hgetall(desk.keys.call) == before


async def test_call_that_redis_has_lost_comes_back_to_the_app_of_the_newest_fence(desk: Desk) -> None:
    """The first app's worker may not know yet that it has lost the call, and writes first."""
    first = await consented(desk, consent())
    await taken(desk)
    second = await desk.owned("w2", app="sales")
    await desk.client.flushall()
    assert await restored(desk, first, "ivr", secret=b"1") == Restored(0)
    since = {"@since": b'{"epoch":2,"fence":%d}' % first.fence}
    assert await restored(desk, second, "sales", given=b"2", **since) == Restored(0)
    assert (await desk.field("app"), await desk.field("s:secret")) == (b"sales", None)
    assert await desk.field("s:@since") == since["@since"]
    assert await restored(desk, first, "ivr", secret=b"1") == Fenced("w2")
    assert (await desk.field("app"), await desk.field("s:given")) == (b"sales", b"2")


@pytest.mark.parametrize("first", ["worker", "gateway"])
async def test_nothing_stays_of_an_earlier_visit_that_redis_comes_back_to(desk: Desk, first: str) -> None:
    """The call was with another app and is back; Redis has lost both transfers, and still has the state of before."""
    before = await consented(desk, consent())
    back = Ownership(desk.keys, "w3", before.fence + 4, before.ttl_ms)
    if first == "gateway":
        await desk.attach(epoch_known=3, line="side", owner_known="w3", fence_known=back.fence)
    since = {"@since": b'{"epoch":3,"fence":%d}' % (before.fence + 2)}
    await restored(desk, back, "ivr", given=b"1", **since)
    assert (await desk.field("s:secret"), await desk.field("s:@transfer")) == (None, None)
    assert (await desk.field("s:given"), await desk.field("s:@since")) == (b"1", since["@since"])


async def test_gateway_tells_a_redis_that_has_lost_the_transfer(desk: Desk) -> None:
    """It attached with a newer fence than Redis remembers; the first app's state is not handed on by that."""
    first = await consented(desk, consent())
    again = await taken(desk, epoch_known=2, owner_known="w2", fence_known=first.fence + 2)
    assert isinstance(again, Attached)
    assert (again.app, again.owner) == ("sales", "w2")
    assert (await desk.field("app"), await desk.field("s:secret")) == (b"sales", None)
    assert await desk.commit(first, 1, 2) == Fenced("w2")
    assert await desk.field("s:@since") == b'{"epoch":2,"fence":%d}' % first.fence
    assert isinstance(await desk.attach(is_reconnect=True), Attached), "the first app's line may come back"

"""What an owner does when Redis may have lost its calls, when others have them, and when their sockets are gone."""

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jambonz_shared.keys import Keys
from jambonz_shared.redis import script
from jambonz_shared.redis.errors import LinkDown, ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import CallKeys, Ownership
from jambonz_workers.call import Call
from jambonz_workers.live import LiveCall
from jambonz_workers.recovery import Recovery
from tests.conditions import until

GRACE_S = 0.02
OnReply = Callable[[Any], None]


class LinkDouble:
    """Keeps what is sent; the test answers."""

    def __init__(self) -> None:
        self.scripts: list[tuple[OnReply, object]] = []
        self.commands: list[tuple[OnReply, tuple[object, ...]]] = []
        self.owned: list[object] = []
        self.expiring = 0

    def script(self, on_reply: OnReply, which: object, keys: object, args: object) -> None:
        self.scripts.append((on_reply, which))

    def send(self, on_reply: OnReply, *args: object) -> None:
        if args[0] == b"SADD":
            assert args[1] == "jc:owned:{w1}"
            self.owned += args[2:]
        elif args[0] == b"PEXPIRE":
            assert (args[1], self.owned != []) == ("jc:owned:{w1}", True)
            self.expiring += 1
        else:
            self.commands.append((on_reply, args))

    def answer(self, reply: object) -> None:
        """Answer the one command that waits."""
        [(on_reply, _)] = self.commands
        self.commands.clear()
        on_reply(reply)


class OfficeDouble:
    """Owns one call."""

    def __init__(self) -> None:
        call = SimpleNamespace(sid="c1", app="ivr", facts={}, status="", state=SimpleNamespace(stored={}))
        ownership = Ownership(CallKeys.of(Keys("jc:"), "c1"), "w1", 7, 1000)
        self.call = LiveCall(cast("Call", call), ownership, committed={1: 3})
        self.live = {"c1": self.call}
        self.lost: list[str] = []
        self.ended: list[LiveCall] = []

    def lose(self, live: LiveCall, owner: str) -> None:
        self.lost.append(owner)
        self.live.clear()

    def end(self, live: LiveCall) -> None:
        self.ended.append(live)


@pytest.fixture
def office() -> OfficeDouble:
    return OfficeDouble()


@pytest.fixture
def link() -> LinkDouble:
    return LinkDouble()


@pytest.fixture
async def recovery(link: LinkDouble, office: OfficeDouble) -> Recovery:
    return Recovery(cast("Link", link), office, owned_key="jc:owned:{w1}", grace_s=GRACE_S)


async def test_call_that_another_worker_has_claimed_is_lost(
    recovery: Recovery, link: LinkDouble, office: OfficeDouble
) -> None:
    """Redis knows a higher fence: this worker was away for too long."""
    recovery.restore()
    assert link.owned == ["c1"], "adopters find the call, although Redis may have lost the set"
    assert link.expiring == 1, "P8: the set does not stay for ever"
    [(answer, which)] = link.scripts
    assert which is script.RESTORE
    answer([b"fenced", b"w2"])
    assert office.lost == ["w2"]


async def test_unknown_call_may_come_back_for_a_while_after_an_outage(recovery: Recovery) -> None:
    """Its gateway may only be slower than we."""
    assert not recovery.may_come_back
    recovery.restore()
    assert recovery.may_come_back


async def test_restored_call_without_sockets_ends_after_the_grace_time(
    recovery: Recovery, link: LinkDouble, office: OfficeDouble
) -> None:
    """jambonz did not reconnect: nothing of the call may stay."""
    recovery.restore()
    link.scripts[0][0]([b"ok", 0])
    link.answer([b"0", b"1"])
    await until(lambda: len(link.commands) == 1, "it looks once more")
    link.answer([b"0", b"1"])
    assert office.ended == [office.call]


async def test_call_that_redis_has_forgotten_meanwhile_ends(
    recovery: Recovery, link: LinkDouble, office: OfficeDouble
) -> None:
    """Its keys live for the grace time, too."""
    recovery.without_sockets(office.call)
    link.answer([b"0", b"1"])
    await until(lambda: len(link.commands) == 1, "it looks once more")
    link.answer([None, None])
    assert office.ended == [office.call]


async def test_each_loss_has_a_grace_time_of_its_own(
    recovery: Recovery, link: LinkDouble, office: OfficeDouble
) -> None:
    """The second came just before the time of the first was over."""
    recovery.without_sockets(office.call)
    link.answer([b"0", b"1"])
    await until(lambda: len(link.commands) == 1, "it looks once more")
    link.answer([b"0", b"2"])
    assert office.ended == []
    await until(lambda: len(link.commands) == 1, "it looks after the time of the second")
    link.answer([b"0", b"2"])
    assert office.ended == [office.call]


async def test_call_whose_socket_is_back_already_is_not_looked_after(
    recovery: Recovery, link: LinkDouble, office: OfficeDouble
) -> None:
    """The next loss will be told."""
    recovery.without_sockets(office.call)
    link.answer([b"1", b"2"])
    await asyncio.sleep(3 * GRACE_S)
    assert link.commands == []
    assert not office.call.is_detached


async def test_call_whose_socket_came_back_goes_on(recovery: Recovery, link: LinkDouble, office: OfficeDouble) -> None:
    """The look after the grace time finds a Connection."""
    recovery.without_sockets(office.call)
    link.answer([b"0", b"1"])
    await until(lambda: len(link.commands) == 1, "it looks once more")
    link.answer([b"1", b"2"])
    assert office.ended == []
    assert not office.call.is_detached


async def test_wait_begins_anew_while_redis_is_away(recovery: Recovery, link: LinkDouble, office: OfficeDouble) -> None:
    """The gateways attach again when it is back."""
    recovery.without_sockets(office.call)
    for _ in range(3):
        link.answer(LinkDown(sent=False))
        assert office.ended == []
        await until(lambda: len(link.commands) == 1, "it looks again")


async def test_call_that_has_moved_on_is_left_alone(recovery: Recovery, link: LinkDouble, office: OfficeDouble) -> None:
    """It has ended, or another worker has it."""
    recovery.without_sockets(office.call)
    link.answer([b"0", b"1"])
    office.live["c1"] = OfficeDouble().call
    recovery.without_sockets(office.live["c1"])
    link.answer([b"0", b"1"])
    await until(lambda: len(link.commands) == 1, "it looks after the one that is here now, whose time is over last")


@pytest.mark.parametrize(
    ("owner", "fence", "lost_to"),
    [
        pytest.param(b"w2", b"9", ["w2"], id="another_has_it"),
        pytest.param(b"", b"8", [""], id="nobody_has_it"),
        pytest.param(None, None, [""], id="it_has_ended"),
        pytest.param(b"w1", b"9", [""], id="claimed_again_since"),
        pytest.param(b"w1", b"7", [], id="claimed_after_the_adoption"),
    ],
)
async def test_worker_taken_for_dead_drops_the_calls_of_others(
    recovery: Recovery,
    link: LinkDouble,
    office: OfficeDouble,
    owner: bytes | None,
    fence: bytes | None,
    lost_to: list[str],
) -> None:
    """But not what it has claimed since it woke up: nobody else would look after that."""
    recovery.taken_for_dead()
    link.commands[0][0]([owner, fence])
    assert office.lost == lost_to
    assert link.owned == ([] if lost_to else ["c1"]), "who adopted us may have struck out what is ours"


async def test_worker_taken_for_dead_looks_again_when_the_adoption_is_over(
    recovery: Recovery, link: LinkDouble, office: OfficeDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its call was taken behind the first look; otherwise two workers would go on with it until one commits."""
    monkeypatch.setattr("jambonz_workers.recovery._LOOK_AGAIN_S", GRACE_S)
    recovery.taken_for_dead()
    link.answer([b"w1", b"7"])
    await until(lambda: len(link.commands) == 1, "it looks again")
    link.answer([b"", b"8"])
    assert office.lost == [""]


async def test_nothing_is_lost_by_a_look_that_failed_or_came_late(
    recovery: Recovery, link: LinkDouble, office: OfficeDouble
) -> None:
    """With the next connection ``restore`` tells the same; and the call may have been claimed anew meanwhile."""
    recovery.taken_for_dead()
    link.answer(LinkDown(sent=True))
    recovery.taken_for_dead()
    office.live["c1"] = OfficeDouble().call
    link.answer([b"w2", b"9"])
    assert (office.lost, link.owned) == ([], [])


async def test_failed_restore_is_tried_with_the_next_connection(
    recovery: Recovery, link: LinkDouble, office: OfficeDouble
) -> None:
    """Nothing is decided on a broken link."""
    recovery.restore()
    link.scripts[0][0](LinkDown(sent=True))
    assert (office.lost, office.ended, link.commands) == ([], [], [])


async def test_restore_that_redis_refuses_is_tried_again(
    recovery: Recovery, link: LinkDouble, office: OfficeDouble
) -> None:
    """Out of memory it takes nothing for a while, and the connection stays; unless the call is another's by then."""
    recovery.restore()
    refused = ResponseError("OOM command not allowed when used memory > 'maxmemory'.")
    link.scripts.pop()[0](refused)
    await until(lambda: len(link.scripts) == 1, "it is told again")
    assert link.owned == ["c1", "c1"]
    link.scripts.pop()[0](refused)
    office.live["c1"] = OfficeDouble().call
    recovery.restore()
    link.scripts.pop()[0](refused)
    await until(lambda: link.scripts != [], "the one that is here now is told again, and would be behind the other")
    assert len(link.scripts) == 1


async def test_call_that_redis_misses_is_looked_for_once(recovery: Recovery, link: LinkDouble) -> None:
    """Its commits wait for the answer, all of them; what Redis has lost is written down then."""
    looks: list[None] = []
    recovery.on_missed = lambda: looks.append(None)
    live = recovery._owner.live["c1"]
    assert [recovery.misses(live), recovery.misses(live)] == [True, True]
    assert len(looks) == 1
    recovery.restore()
    assert recovery.misses(live)
    assert len(looks) == 2, "it was lost again"


@pytest.mark.parametrize("mark", ["is_detached", "has_ended"])
async def test_call_that_may_be_over_is_not_looked_for(recovery: Recovery, mark: str) -> None:
    """Its grace time has run out, or it was ended here."""
    live = recovery._owner.live["c1"]
    setattr(live, mark, True)
    assert not recovery.misses(live)

"""Commands that must happen: held while Redis does not take them, and sent again in their order."""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jambonz_shared.keys import Keys
from jambonz_shared.redis import script
from jambonz_shared.redis.command import Argument
from jambonz_shared.redis.errors import LinkDown, ResponseError
from jambonz_shared.redis.script import Script
from jambonz_shared.redis.scripts import EARLY, CallKeys, Ownership
from jambonz_workers.committer import Committer
from jambonz_workers.effects import Commit
from jambonz_workers.handling import ignore
from jambonz_workers.live import LiveCall
from jambonz_workers.outbox import Outbox
from jambonz_workers.tally import Tally
from tests.conditions import until

pytestmark = pytest.mark.sources_only(because="a compiled Outbox takes no double in the place of a Link")


class LinkDouble:
    """A Link whose replies the test gives."""

    def __init__(self) -> None:
        self.is_up = True
        self.waiting: list[tuple[str, Any]] = []

    @property
    def in_flight(self) -> int:
        return len(self.waiting)

    def on_up(self, tell: Callable[[], None]) -> None:
        self.tell_up = tell

    def send(self, on_reply: Any, *args: object) -> None:
        self.waiting.append((str(args[1]), on_reply))

    def script(self, on_reply: Any, _: Script, keys: Sequence[Argument], __: object) -> None:
        self.waiting.append((str(keys[0]), on_reply))

    def reply(self, *replies: object) -> list[str]:
        """Answer what waits, in its order; return what it was."""
        answered, self.waiting = self.waiting, []
        for (_, on_reply), reply in zip(answered, replies, strict=True):
            on_reply(reply)
        return [name for name, _ in answered]


OUT_OF_MEMORY = ResponseError("OOM command not allowed when used memory > 'maxmemory'.")


@pytest.mark.parametrize("refusal", [OUT_OF_MEMORY, LinkDown(sent=True)], ids=["out of memory", "connection lost"])
async def test_commit_behind_one_that_was_refused_waits_for_it(refusal: Exception) -> None:
    """Redis tells that it is early; both are sent again, in their order."""
    link, answers = LinkDouble(), []
    outbox = Outbox(link)  # type: ignore[arg-type]
    for name in ("first", "second"):
        outbox.script(lambda reply, name=name: answers.append((name, reply)), script.COMMIT, [name], [])  # type: ignore[misc]
    assert link.reply(refusal, EARLY) == ["first", "second"]
    assert (answers, outbox.held) == ([], 2)
    await until(lambda: link.in_flight == 2, "they are sent again")
    assert link.reply(1, 2) == ["first", "second"]
    assert answers == [("first", 1), ("second", 2)]


async def test_refusal_that_no_repetition_cures_is_an_answer() -> None:
    """The owner of the command hears of it."""
    link = LinkDouble()
    answers: asyncio.Queue[object] = asyncio.Queue()
    Outbox(link).script(answers.put_nowait, script.COMMIT, ["call"], [])  # type: ignore[arg-type]
    refused = ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
    link.reply(refused)
    assert answers.get_nowait() is refused


async def test_what_is_given_while_something_is_held_waits_behind_it() -> None:
    """Otherwise the link that is back would take the newer effect of a call first."""
    link, answers = LinkDouble(), list[object]()
    outbox = Outbox(link)  # type: ignore[arg-type]
    link.is_up = False
    outbox.send(answers.append, b"SADD", "first")
    assert (link.in_flight, outbox.held) == (0, 1)
    link.is_up = True
    outbox.send(answers.append, b"SADD", "second")
    assert link.in_flight == 0
    link.tell_up()
    assert (link.reply(1, 2), answers) == (["first", "second"], [1, 2])


async def test_link_is_never_given_more_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it refused would be overtaken by what it takes next; the rest follows soon, in its order."""
    monkeypatch.setattr("jambonz_workers.outbox._IN_FLIGHT_LIMIT", 1)
    link, answers = LinkDouble(), list[object]()
    outbox = Outbox(link)  # type: ignore[arg-type]
    for name in "abcde":
        outbox.send(answers.append, b"SADD", name)
    assert (link.in_flight, outbox.held) == (2, 3)
    for names, replies in ((["a", "b"], (1, 2)), (["c", "d"], (3, 4)), (["e"], (5,))):
        await until(lambda names=names: link.in_flight == len(names), "the next ones are sent")
        assert link.reply(*replies) == names
    assert answers == [1, 2, 3, 4, 5]


async def test_each_commit_names_the_one_that_was_sent_before_it() -> None:
    """By that Redis knows one that came through while an earlier one was refused (``EARLY``)."""
    commits: list[tuple[object, ...]] = []
    outbox = SimpleNamespace(script=lambda _, __, ___, args: commits.append(args))
    committer = Committer(cast("Outbox", outbox), Tally(), cast("Any", None))
    live = LiveCall(cast("Any", None), Ownership(CallKeys.of(Keys("jc:"), "c1"), "w1", 7, 1000))
    for series, n in ((1, 4), (1, 5), (-7, 1), (2, 1), (1, 9)):
        committer.commit(live, Commit(series, n), ignore)
    assert [(args[2], args[3], args[6]) for args in commits] == [(1, 4, 0), (1, 5, 4), (-7, 1, 0), (2, 1, 0), (1, 9, 5)]

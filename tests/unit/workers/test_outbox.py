"""Commands that must happen: held while Redis does not take them, and sent again in their order."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from jambonz_shared.redis import script
from jambonz_shared.redis.command import Argument
from jambonz_shared.redis.errors import LinkDown, ResponseError
from jambonz_shared.redis.script import Script
from jambonz_shared.redis.scripts import EARLY
from jambonz_workers.outbox import Outbox
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

    def on_up(self, _: object) -> None:
        """The tests give no news of the connection."""

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

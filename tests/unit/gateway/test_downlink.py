"""What a gateway says to Redis of its calls: in which order, and what once more."""

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import pytest

from jambonz_gateway.downlink import Downlink, Identity
from jambonz_gateway.effects import Attach, MarkAcked
from jambonz_gateway.metrics import Metrics
from jambonz_gateway.route import Known
from jambonz_shared.directive import ChannelMessage
from jambonz_shared.keys import Keys
from jambonz_shared.redis.channels import Channels
from jambonz_shared.redis.errors import LinkDown
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.script import Script
from tests.conditions import until

pytestmark = pytest.mark.sources_only(because="a compiled Downlink takes no double in the place of a Link")

CALL: Final = "call-a"
GRACE_MS: Final = 60_000
ATTACHED: Final = [b"ok", 1, b"", 0, 0, 0, 0, b"1", b"default", 0, b""]


class LinkDouble:
    """Keeps what is sent; the test answers."""

    def __init__(self) -> None:
        self.is_up = True
        self.said: list[tuple[str, tuple[object, ...]]] = []
        self._waiting: list[Callable[[Any], object]] = []

    def send(self, on_reply: Callable[[Any], object], *args: object) -> None:
        assert isinstance(args[0], bytes)
        self._say(on_reply, args[0].decode(), args[1:])

    def script(
        self, on_reply: Callable[[Any], object], which: Script, keys: Sequence[object], args: Sequence[object]
    ) -> None:
        self._say(on_reply, which.name, (*keys, *args))

    def answer(self, *replies: object) -> list[str]:
        """Answer the scripts that wait, in their order; return what has been said since the last time."""
        waiting, self._waiting = self._waiting, []
        said, self.said = self.said, []
        for on_reply, reply in zip(waiting, replies, strict=True):
            on_reply(reply)
        return [name for name, _ in said]

    def _say(self, on_reply: Callable[[Any], object], name: str, args: tuple[object, ...]) -> None:
        self.said.append((name, args))
        self._waiting.append(on_reply)


class ChannelsDouble:
    """Subscribes at once."""

    def subscribe(self, _: bytes, __: Callable[[bytes], None], on_ready: Callable[[], None]) -> None:
        on_ready()

    def unsubscribe(self, _: bytes) -> None:
        pass


class HolderDouble:
    """A Connection whose socket is open, as the Downlink sees it."""

    app_name = "default"
    path = "/"
    has_left = False

    def __init__(self) -> None:
        self.heard: list[object] = []

    def known(self, _: str) -> Known:
        return Known()

    def attached(self, _: str, attachment: object) -> None:
        self.heard.append(attachment)

    def channel(self, _: str, message: ChannelMessage) -> None:
        self.heard.append(message)


@pytest.fixture
def link() -> LinkDouble:
    return LinkDouble()


@pytest.fixture
async def downlink(link: LinkDouble) -> Downlink:
    identity = Identity("gw-1", Keys(), 2 * GRACE_MS, GRACE_MS)
    return Downlink(cast("Link", link), cast("Channels", ChannelsDouble()), Metrics(), identity)


async def test_call_that_was_dropped_while_it_was_attached_is_left_again(downlink: Downlink, link: LinkDouble) -> None:
    """P8: Redis was back in that very moment, and nobody else would let go of it for hours."""
    holder = cast("Any", HolderDouble())
    downlink.attach(holder, Attach(CALL, "main", is_reconnect=False))
    downlink.forget(holder, CALL)
    assert link.answer(1, 1, ATTACHED, 1) == ["SADD", "EXPIRE", "attach", "SREM"]
    assert link.said == [("detach", (f"jc:call:{{{CALL}}}", f"jc:chan:{{{CALL}}}", 1, GRACE_MS))]
    assert holder.heard == []


async def attached(downlink: Downlink, link: LinkDouble) -> HolderDouble:
    """Return a Connection that is attached."""
    holder = HolderDouble()
    downlink.attach(cast("Any", holder), Attach(CALL, "main", is_reconnect=False))
    link.answer(1, 1, ATTACHED)
    return holder


@pytest.mark.parametrize("sent", [False, True])
async def test_what_is_left_of_the_batch_with_an_ack_is_told_when_the_link_is_back(
    downlink: Downlink, link: LinkDouble, *, sent: bool
) -> None:
    """P3: the next Connection of the call would find the ack in the log, and say the application once more."""
    await attached(downlink, link)
    downlink.mark_acked(MarkAcked(CALL, 1, b"left"))
    link.is_up = False
    link.answer(LinkDown(sent=sent))
    downlink.delivered(CALL, 1)
    await until(lambda: len(link.said) == 1, "the deletion is tried in vain")
    link.answer(LinkDown(sent=False))
    link.is_up = True
    downlink.attach_again()
    assert [args for name, args in link.said if name == "acked"] == [(f"jc:call:{{{CALL}}}", "b:1", b"left")]
    # What was written meanwhile is deleted behind it.
    assert link.answer(1, 1, ATTACHED, 1) == ["SADD", "acked", "attach", "HDEL"]
    downlink.attach_again()
    assert link.answer(1, ATTACHED) == ["SADD", "attach"]


async def test_batch_that_was_left_to_another_connection_is_deleted_in_the_end(
    downlink: Downlink, link: LinkDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That one may have died; a later one would say the answer as a redirect, long after its hook."""
    monkeypatch.setattr("jambonz_gateway.downlink._GIVEN_UP_S", 0.02)
    await attached(downlink, link)
    downlink.left_to_another(CALL, 1)
    assert link.said == []
    await until(lambda: link.said == [("HDEL", (f"jc:call:{{{CALL}}}", "b:1"))], "it is deleted")

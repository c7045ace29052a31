"""Stream readers to be tested, and what a test looks at while they read."""

import redis.asyncio

from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.streams import Entry, GroupMember, Source, StreamReader
from tests.integration.redis.desk import execute

INBOX = "jc:inbox:{w1}"
DISPATCH = "jc:dispatch:{ivr}"


class Heard:
    """Collects what a reader hands on."""

    def __init__(self) -> None:
        self.batches: list[list[Entry]] = []

    def __call__(self, entries: list[Entry]) -> None:
        self.batches.append(entries)

    @property
    def values(self) -> list[bytes]:
        return [value for batch in self.batches for _, values in batch for value in values]


class Purse:
    """Credits a test gives and takes."""

    def __init__(self, room: int) -> None:
        self.credits = room
        self.asked = 0

    def __call__(self) -> int:
        self.asked += 1
        return self.credits


def alone(url: str, link: Link, heard: Heard, block_ms: int = 2000, count: int = 100) -> StreamReader:
    return StreamReader(UrlEndpoint(url), link, Source(INBOX, count=count, block_ms=block_ms), heard)


def member(url: str, link: Link, heard: Heard, consumer: str = "w1", purse: Purse | None = None) -> StreamReader:
    source = Source(DISPATCH, GroupMember("workers", consumer, purse or Purse(100)))
    return StreamReader(UrlEndpoint(url), link, source, heard)


async def add(link: Link, key: str, *values: str | int, entry_id: str = "*") -> None:
    fields = [part for value in values for part in ("e", value)]
    await link.call("XADD", key, entry_id, *fields)
    await link.call("PEXPIRE", key, 60_000)


async def pending(link: Link) -> int:
    reply = await link.call("XPENDING", DISPATCH, "workers")
    assert isinstance(reply, list)
    return int(reply[0])


async def kill(client: redis.asyncio.Redis, reader: StreamReader) -> None:
    await execute(client, "CLIENT", "KILL", "ID", str(reader.client_id))

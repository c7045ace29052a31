"""The scripts of one Call as plain awaitable calls, with everything the call channel said meanwhile."""

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from jambonz_shared.keys import Keys
from jambonz_shared.redis import script
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import (
    NO_CHANGES,
    Attach,
    Attached,
    CallKeys,
    Changes,
    Claimed,
    Committed,
    Duplicate,
    Ended,
    Fenced,
    Full,
    Gone,
    Orphaned,
    OtherApp,
    OwnedBy,
    Ownership,
    Queued,
    StillLive,
    acked_args,
    attach_args,
    attach_reply,
    batch_field,
    claim_args,
    claim_reply,
    commit_args,
    commit_reply,
    detach_args,
    detach_reply,
    end_args,
    end_reply,
    orphan_args,
    orphan_reply,
    send_args,
    send_reply,
    undelivered_args,
    undelivered_reply,
)
from jambonz_shared.redis.wire import Reply

TTL_MS = 3_600_000
GRACE_MS = 60_000


async def execute(client: Redis, *command: str) -> object:
    """Run a command that redis-py has no typed method for."""
    reply: object = await client.execute_command(*command)  # type: ignore[no-untyped-call]
    return reply


@dataclass
class Desk:
    """One Call and the scripts that work on it."""

    link: Link
    client: Redis
    call_sid: str = "c1"

    def __post_init__(self) -> None:
        self.keys = CallKeys.of(Keys(), self.call_sid)
        self.pubsub = self.client.pubsub()

    async def listen(self) -> None:
        """Hear the call channel from now on."""
        await self.pubsub.subscribe(self.keys.chan)
        confirmation = await self.pubsub.get_message(timeout=5)
        assert confirmation is not None
        assert confirmation["type"] == "subscribe"

    async def heard(self) -> list[bytes]:
        """Return what the channel has said until now, and forget it."""
        # A message of our own marks the end: pub/sub keeps the order of one channel.
        await self.client.publish(self.keys.chan, b"end of test")
        said: list[bytes] = []
        while True:
            message: dict[str, Any] | None = await self.pubsub.get_message(timeout=5)
            assert message is not None
            if message["data"] == b"end of test":
                return said
            said.append(message["data"])

    async def attach(self, **fields: Any) -> Attached | OtherApp:
        """Attach; what is not given is ordinary."""
        ordinary: dict[str, Any] = {"gateway_id": "g1", "app": "ivr", "path": "/ivr", "line": "main", "ttl_ms": TTL_MS}
        attach = Attach(**(ordinary | fields))
        return attach_reply(await self.link.script_call(script.ATTACH, *attach_args(self.keys, attach)))

    async def detach(self, epoch: int, grace_ms: int = GRACE_MS) -> int | Gone:
        """Detach."""
        return detach_reply(await self.link.script_call(script.DETACH, *detach_args(self.keys, epoch, grace_ms)))

    async def claim(
        self, worker_id: str = "w1", *, app: str = "ivr", is_young: bool = False
    ) -> Claimed | OwnedBy | OtherApp | Gone:
        """Claim."""
        args = claim_args(self.keys, worker_id, app, is_young=is_young)
        return claim_reply(await self.link.script_call(script.CLAIM, *args))

    async def owned(self, worker_id: str = "w1", *, app: str = "ivr") -> Ownership:
        """Claim, with success, and return what commits need."""
        claimed = await self.claim(worker_id, app=app)
        assert isinstance(claimed, Claimed)
        return Ownership(self.keys, worker_id, claimed.fence, TTL_MS)

    async def commit(
        self, ownership: Ownership, epoch: int, n: int, batch: bytes = b"", changes: Changes = NO_CHANGES
    ) -> Committed | Duplicate | Fenced | Full | Gone:
        """Commit."""
        args = commit_args(ownership, (epoch, n), batch, changes)
        return commit_reply(await self.link.script_call(script.COMMIT, *args))

    async def send(self, batch: bytes, *, is_young: bool = False) -> Queued | Full | Gone:
        """Send."""
        args = send_args(self.keys, TTL_MS, batch, is_young=is_young)
        return send_reply(await self.link.script_call(script.SEND, *args))

    async def acked(self, seq: int = 0, left: bytes = b"") -> bool:
        """Note that the first hook was acked."""
        return await self.link.script_call(script.ACKED, *acked_args(self.keys, seq, left)) == 1

    async def end(self, ownership: Ownership) -> Ended | StillLive | Fenced | Gone:
        """End."""
        return end_reply(await self.link.script_call(script.END, *end_args(ownership)))

    async def orphan(self, worker_id: str = "w1") -> Orphaned | OwnedBy | Gone:
        """Orphan."""
        return orphan_reply(await self.link.script_call(script.ORPHAN, *orphan_args(self.keys, worker_id)))

    async def log(self, after_seq: int = 0) -> list[tuple[int, bytes]]:
        """Return the numbers and batches of the call log behind a cursor."""
        return undelivered_reply(
            await self.link.script_call(script.UNDELIVERED, *undelivered_args(self.keys, after_seq))
        )

    async def delivered(self, *seqs: int) -> None:
        """Delete batches, as a gateway does."""
        assert await self.link.call("HDEL", self.keys.call, *map(batch_field, seqs)) == len(seqs)

    async def field(self, name: str) -> Reply:
        """Return one field of the hash."""
        return await self.link.call("HGET", self.keys.call, name)

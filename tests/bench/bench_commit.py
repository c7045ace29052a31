"""Instructions of Redis per commit and deletion of its batch, counted by callgrind. Prints, judges nothing.

Run it by hand: ``python -m tests.bench.bench_commit``. It needs valgrind, and starts Redis servers of its own.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Final

import orjson
import redis

from jambonz_cluster.embedded_redis import EmbeddedRedis, find_redis_server, free_port
from jambonz_shared.directive import Ack, encode_batch
from jambonz_shared.keys import Keys
from jambonz_shared.redis import script
from jambonz_shared.redis.admin import connect
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import (
    NO_CHANGES,
    Attach,
    CallKeys,
    Changes,
    Claimed,
    Committed,
    Ownership,
    attach_args,
    batch_field,
    claim_args,
    claim_reply,
    commit_args,
    commit_reply,
)
from jambonz_shared.runtime.loop import run_in_loop
from tests.bench.application import VERBS
from tests.bench.callgrind import instructions_in, under_callgrind

CALLS: Final = 64
# What happens in the first rounds only, and at start and end, is taken off: the difference of two runs is divided.
ROUNDS: Final = (5, 105)
# As long as what a worker keeps of an ordinary call.
FACTS: Final = orjson.dumps(
    {"from": "+15550001000", "to": "+15550002000", "account_sid": "a" * 36, "direction": "inbound"}
)
# A Redis under valgrind takes seconds to start.
START_LIMIT_S: Final = 60.0


async def load(url: str, rounds: int) -> None:
    """Have every call commit the answer to a hook, round by round, and delete it as its gateway does."""
    link = Link(UrlEndpoint(url))
    running = asyncio.create_task(link.run())
    async with asyncio.timeout(START_LIMIT_S):
        await link.wait_up()
    calls = [CallKeys.of(Keys(), f"0f6dbbc4-8ac1-4a6e-9d0f-{number:012d}") for number in range(CALLS)]
    async with aclosing(connect(url)) as client, client.pubsub() as gateway:
        await gateway.subscribe(*(call.chan for call in calls))
        owners = [await owned(link, call) for call in calls]
        for n in range(2, rounds + 2):
            await asyncio.gather(*(handle(link, owner, n) for owner in owners))
    running.cancel()
    await asyncio.wait((running,))


async def owned(link: Link, call: CallKeys) -> Ownership:
    """Return the owner of a call whose first event is committed."""
    attach = Attach("host-1234-abcdef01", "default", "/", "main", 14_400_000)
    await link.script_call(script.ATTACH, *attach_args(call, attach))
    claimed = claim_reply(await link.script_call(script.CLAIM, *claim_args(call, "host-1235-abcdef01", "default")))
    assert isinstance(claimed, Claimed)
    owner = Ownership(call, "host-1235-abcdef01", claimed.fence, 14_400_000)
    await handle(link, owner, 1, Changes(FACTS))
    return owner


async def handle(link: Link, owner: Ownership, n: int, changes: Changes = NO_CHANGES) -> None:
    """Commit the answer to hook n, and delete the batch."""
    batch = encode_batch([Ack(f"{n:x}", 1, f"2tNfPq6wEr9yUs3KmXb4{n:02}", orjson.dumps(VERBS))])
    args = commit_args(owner, (1, n), batch, changes, previous=n - 1, renews=n == 1)
    committed = commit_reply(await link.script_call(script.COMMIT, *args))
    assert isinstance(committed, Committed)
    assert await link.call("HDEL", owner.call.call, batch_field(committed.seq)) == 1


def instructions(rounds: int) -> int:
    """Return what a Redis with an append-only file takes for it, its start and end included."""
    with tempfile.TemporaryDirectory() as folder:
        port, counts = free_port(), Path(folder, "callgrind.out")
        server = (find_redis_server(), "--port", str(port), "--dir", folder, "--save", "", "--appendonly", "yes")
        command = under_callgrind(counts, server)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                run_in_loop(load(f"redis://127.0.0.1:{port}", rounds))
            finally:
                process.terminate()
        return instructions_in(counts)


def exit_if_one_does_not_compile(scripts: Iterable[script.Script]) -> None:
    """Name the script and what Redis says of it: a link would try for ever to load it."""
    with EmbeddedRedis() as server, redis.Redis.from_url(server.url) as client:
        for one in scripts:
            try:
                client.script_load(one.source)
            except redis.ResponseError as error:
                sys.exit(f"{one.name}.lua: {error}")


def main() -> None:
    """Print the figure."""
    exit_if_one_does_not_compile(script.ALL)
    few, many = map(instructions, ROUNDS)
    print(f"{(many - few) / CALLS / (ROUNDS[1] - ROUNDS[0]):,.0f} instructions per commit and deletion")


if __name__ == "__main__":
    main()

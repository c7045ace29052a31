"""CPU per command in the client: the Link against redis-py. Prints, judges nothing.

Run it by hand: ``python -m tests.bench.bench_link``. It starts a Redis of its own.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.keys import Keys
from jambonz_shared.redis import script
from jambonz_shared.redis.admin import connect
from jambonz_shared.redis.endpoint import UrlEndpoint
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import (
    Attach,
    CallKeys,
    Changes,
    Claimed,
    Ownership,
    attach_args,
    batch_field,
    claim_args,
    claim_reply,
    commit_args,
    commit_reply,
)
from jambonz_shared.redis.wire import Reply
from jambonz_shared.runtime.loop import run_in_loop

COMMANDS = 100_000
IN_FLIGHT = 256
BODY = b'{"type":"verb:hook","msgid":"2tNfPq6wEr9yUs3KmXb4Lz","hook":"/menu","data":{}}' * 4
BATCH = b"120:" + b"x" * 120


@dataclass(slots=True)
class Flood:
    """Keeps ``IN_FLIGHT`` commands under way until ``COMMANDS`` have been answered."""

    send: Callable[[Callable[[Reply], object]], None]
    left_to_send: int = COMMANDS
    left_to_hear: int = COMMANDS
    done: asyncio.Event | None = None

    async def run(self) -> None:
        """Return when all have been answered."""
        self.done = asyncio.Event()
        for _ in range(IN_FLIGHT):
            self.send_one()
        await self.done.wait()

    def send_one(self) -> None:
        """Send the next, if any is left."""
        if self.left_to_send:
            self.left_to_send -= 1
            self.send(self.on_reply)

    def on_reply(self, reply: Reply) -> None:
        """Count and go on."""
        assert not isinstance(reply, Exception), reply
        self.left_to_hear -= 1
        self.send_one()
        if not self.left_to_hear and self.done is not None:
            self.done.set()


async def measured(
    name: str, work: Callable[[], Awaitable[None]], server_cpu_s: Callable[[], Awaitable[float]]
) -> None:
    """Print what the work cost per command."""
    server_before_s = await server_cpu_s()
    cpu_before_s, before_s = time.process_time(), time.perf_counter()
    await work()
    cpu_s, wall_s = time.process_time() - cpu_before_s, time.perf_counter() - before_s
    server_s = await server_cpu_s() - server_before_s
    client_us, server_us = cpu_s / COMMANDS * 1e6, server_s / COMMANDS * 1e6
    rate = COMMANDS / wall_s
    print(f"{name:32} {client_us:7.2f} us CPU here, {server_us:6.2f} us in Redis, {rate:9,.0f}/s", flush=True)


async def main(url: str) -> None:
    """Measure each way once."""
    client = connect(url)
    link = Link(UrlEndpoint(url))
    running = asyncio.create_task(link.run())
    await link.wait_up()

    async def server_cpu_s() -> float:
        info = await client.info("cpu")
        return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

    async def pipelines() -> None:
        for _ in range(COMMANDS // IN_FLIGHT):
            pipeline = client.pipeline(transaction=False)
            for _ in range(IN_FLIGHT):
                pipeline.execute_command("XADD", "stream", "NOMKSTREAM", "*", "e", BODY)
            await pipeline.execute()

    await client.xadd("stream", {"e": BODY})
    call = CallKeys.of(Keys(), "bench")
    await link.script_call(script.ATTACH, *attach_args(call, Attach("g", "app", "/", "main", 60_000)))
    claimed = claim_reply(await link.script_call(script.CLAIM, *claim_args(call, "w", "app")))
    assert isinstance(claimed, Claimed)
    ownership = Ownership(call, "w", claimed.fence, 60_000)
    n = 0

    def commit(batch: bytes, changes: Changes) -> Callable[[Callable[[Reply], object]], None]:
        def send(on_reply: Callable[[Reply], object]) -> None:
            nonlocal n
            n += 1

            def committed(reply: Reply) -> None:
                commit_reply(reply)
                on_reply(reply)

            link.script(committed, script.COMMIT, *commit_args(ownership, (1, n), batch, changes, renews=False))

        return send

    state = Changes(state={"tries": b"1", "name": b'"somebody"'})
    ways: dict[str, Callable[[], Awaitable[None]]] = {
        "link PING": Flood(lambda on_reply: link.send(on_reply, b"PING")).run,
        "link XADD NOMKSTREAM": Flood(
            lambda on_reply: link.send(on_reply, b"XADD", b"stream", b"NOMKSTREAM", b"*", b"e", BODY)
        ).run,
        "redis-py pipelines of 256, XADD": pipelines,
        "link commit, no batch": Flood(commit(b"", Changes())).run,
        "link commit, batch": Flood(commit(BATCH, Changes())).run,
        "link commit, batch, two fields": Flood(commit(BATCH, state)).run,
    }
    for name, work in ways.items():
        await measured(name, work, server_cpu_s)
        # As a gateway that has delivered them all.
        await client.hdel(call.call, *map(batch_field, range(n + 1)))
    running.cancel()
    await asyncio.wait((running,))
    await client.aclose()


if __name__ == "__main__":
    with EmbeddedRedis() as server:
        run_in_loop(main(server.url))

"""Instructions of a gateway and of a worker per hook, counted by callgrind. Prints, judges nothing.

Run it by hand: ``build/compiled/bin/python -m tests.bench.bench_hook``. It needs valgrind. Each of the two is alone in
a process, with doubles for its sockets: what is left out is the kernel. A folder as argument keeps callgrind's files:
``callgrind_annotate --inclusive=yes`` names the functions.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

import orjson

from jambonz_gateway.apps import Apps, KnownApp
from jambonz_gateway.downlink import Identity
from jambonz_gateway.gateway import Gateway
from jambonz_shared.config import GatewaySettings, WorkerSettings
from jambonz_shared.directive import Ack, encode_batch
from jambonz_shared.envelope import Envelope
from jambonz_shared.keys import Keys
from jambonz_shared.redis import script
from jambonz_shared.redis.connect import backend_of
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.script import Script
from jambonz_shared.redis.wire import Wire
from jambonz_shared.runtime.garbage import tune_garbage_collection
from jambonz_shared.runtime.loop import run_in_loop
from jambonz_workers.worker import Worker
from tests.bench.application import VERBS, app
from tests.bench.callgrind import instructions_in, under_callgrind
from tests.bench.frames import CallFrames, client_frame, upgrade
from tests.cluster_fixture import REPO

CALLS: Final = 64
# So many come in one read.
TOGETHER: Final = 8
# Start and end are taken off: the difference of two runs is divided.
ROUNDS: Final = (10, 60)
TICKS: Final = 6
ANSWER: Final = orjson.dumps(VERBS)
# The answer to the first ping, which stands behind the ack of session:new (ADR 0016).
PONG: Final = client_frame((1).to_bytes(4, "big"), opcode=10)
OWNER: Final = b"host-1235-abcdef01"
GATEWAY: Final = "host-1234-abcdef01"
NOW_MS: Final = 1_790_000_000_000

Round = Callable[[int], Awaitable[None]]


class SocketDouble:
    """Somebody who reads and says nothing; ``sent`` is what it has read."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        # No function of Python's between those that are measured.
        self.write = self.sent.append

    def set_write_buffer_limits(self, high: int) -> None:
        pass


class RedisDouble:
    """The far end of a Link: answers 1 to every command, and what is ``said`` to all of a write with ``special``."""

    def __init__(self, link: Link, special: Script, said: "Said") -> None:
        self._link = link
        self._wire = Wire(link._on_data)
        self._loop = asyncio.get_running_loop()
        self._special = special.sha
        self._said = reply(said)
        self._answering = 0
        # As when it has come up.
        link._transport = self  # type: ignore[assignment]
        link._room_bytes = link._limit_bytes
        link.is_up = True

    def write(self, data: bytes) -> None:
        commands = self._link.in_flight - self._answering
        self._answering += commands
        # At its beginning, or the search would cost more than the rest of this.
        each = self._said if self._special in data[:1000] else b":1\r\n"
        self._loop.call_soon(self._answer, each, commands)

    def _answer(self, each: bytes, commands: int) -> None:
        self._answering -= commands
        self._wire.data_received(each * commands)

    def get_write_buffer_size(self) -> int:
        return 0


Said = bytes | int | Sequence["Said"]


def reply(said: Said) -> bytes:
    """Return a reply of Redis as bytes."""
    if isinstance(said, int):
        return b":%d\r\n" % said
    if isinstance(said, bytes):
        return b"$%d\r\n%b\r\n" % (len(said), said)
    return b"*%d\r\n%b" % (len(said), b"".join(map(reply, said)))


async def ticks() -> None:
    """Let the loop do what is to be done at once."""
    for _ in range(TICKS):
        await asyncio.sleep(0)


async def gateway() -> Round:
    """Return what a gateway does in a round: a hook of each call comes, its answer goes out and is deleted."""
    identity = Identity(GATEWAY, Keys(), 14_400_000, 60_000)
    backend = backend_of("redis://127.0.0.1")
    link = backend.link("gateway")
    RedisDouble(link, script.ATTACH, [b"ok", 1, OWNER, 1, 0, 0, 1, b"1", b"default", 0, b""])
    channels = backend.channels(link, "canary")
    wire = channels._wire = Wire(channels._on_data)
    wire._transport = SocketDouble()  # type: ignore[assignment]
    it = Gateway(GatewaySettings(ping_interval_s=300), identity, link, channels)
    it.reception.apps = Apps([KnownApp("default", takes_any_path=True)])
    calls = [CallFrames() for _ in range(CALLS)]
    names = [identity.keys.chan(call.call_sid).encode() for call in calls]

    def answers(seq: int, msgids: list[bytes]) -> list[bytes]:
        """Return what the channels say, as many answers in one read as come together."""
        batches = [encode_batch([Ack(f"{seq:x}", 1, msgid.decode(), ANSWER)]) for msgid in msgids]
        said = [
            reply([b"message", name, b"D%d\n%b" % (seq, batch)]) for name, batch in zip(names, batches, strict=True)
        ]
        return [b"".join(said[at : at + TOGETHER]) for at in range(0, CALLS, TOGETHER)]

    sockets = [SocketDouble() for _ in calls]
    connections = []
    for socket in sockets:
        connections.append(connection := it.connection("127.0.0.1"))
        connection.connection_made(socket)  # type: ignore[arg-type]
        connection.data_received(upgrade("127.0.0.1", "/bench"))
    await ticks()
    for connection, call in zip(connections, calls, strict=True):
        connection.data_received(call.first("session:new"))
    await ticks()
    for name in names:
        wire.data_received(reply([b"subscribe", name, 1]))
    await ticks()
    for said in answers(1, [call.msgid for call in calls]):
        wire.data_received(said)
    for connection in connections:
        connection.data_received(PONG)
    await ticks()
    # Prepared for all rounds in either run, so that it does not count.
    rounds = [
        ([bytes(call.next_hook()) for call in calls], answers(seq, [call.msgid for call in calls]))
        for seq in range(2, max(ROUNDS) + 2)
    ]

    async def play(number: int) -> None:
        hooks, said = rounds[number]
        for connection, hook in zip(connections, hooks, strict=True):
            connection.data_received(hook)
        await ticks()
        for some in said:
            wire.data_received(some)
        it.downlink._flush_deletes()
        await ticks()
        assert len(sockets[-1].sent) == number + 4, "upgrade, ack and ping, and an answer in each round"

    return play


async def worker() -> Round:
    """Return what a worker does in a round: a hook of each call comes, is answered, committed and deleted."""
    it = Worker(app, WorkerSettings())
    RedisDouble(it._link, script.CLAIM, [b"ok", 1, b"app", b"default", b"path", b"/bench", b"c:1", b"gateway\x1fmain"])
    inbox = it._inbox
    wire = inbox._wire = Wire(inbox._on_data)
    wire._transport = SocketDouble()  # type: ignore[assignment]
    calls = [CallFrames() for _ in range(CALLS)]

    def entries(n: int) -> list[bytes]:
        """Return reads of the inbox that bring message n of each call."""
        kind = "session:new" if n == 1 else "verb:hook"
        frames = [call.first(kind) if n == 1 else bytes(call.next_hook()) for call in calls]
        raws = [
            Envelope(call.call_sid, 1, n, kind, call.msgid.decode(), NOW_MS, GATEWAY, False, frame[8:]).encode()
            for call, frame in zip(calls, frames, strict=True)
        ]
        return [read(n, raws[at : at + TOGETHER]) for at in range(0, CALLS, TOGETHER)]

    def read(n: int, raws: list[bytes]) -> bytes:
        return reply([[b"inbox", [[b"%d-%d" % (NOW_MS, n), [part for raw in raws for part in (b"e", raw)]]]]])

    async def play(number: int) -> None:
        for some in rounds[number]:
            wire.data_received(some)
        await ticks()
        it._sweeper.flush()
        await ticks()
        assert it.metrics.tally.commits == {"ok": CALLS * (number + 1)}

    rounds = [entries(n) for n in range(1, max(ROUNDS) + 2)]
    await play(0)
    return lambda number: play(number + 1)


PROCESSES: Final = {"gateway": gateway, "worker": worker}


async def run(name: str, rounds: int) -> None:
    """Play so many rounds."""
    play = await PROCESSES[name]()
    tune_garbage_collection()
    for number in range(rounds):
        await play(number)


def instructions(name: str, rounds: int, folder: Path) -> int:
    """Return what a process takes for so many rounds, its start and end included."""
    counts = folder / f"{name}-{rounds}.callgrind"
    command = under_callgrind(counts, (sys.executable, "-m", "tests.bench.bench_hook", name, str(rounds)))
    # Where dictionaries keep their keys differs from run to run otherwise.
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run(command, check=True, capture_output=True, cwd=REPO, env=environment)
    return instructions_in(counts)


def main(folder: Path) -> None:
    """Print the figures."""
    for name in PROCESSES:
        few, many = (instructions(name, rounds, folder) for rounds in ROUNDS)
        print(f"{name}: {(many - few) / CALLS / (ROUNDS[1] - ROUNDS[0]):,.0f} instructions per hook", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        run_in_loop(run(sys.argv[1], int(sys.argv[2])))
    elif len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))

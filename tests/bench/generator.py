"""A load generator that costs little: raw websocket frames over asyncio, one prebuilt hook per call in flight.

Run as a process of its own: ``python -m tests.bench.generator URL --calls 256 --seconds 10`` prints one JSON object.
It says ``session:new``, then hook after hook; each ack is answered by the next hook (closed loop), or hooks go out at
a fixed rate whatever the server does (``--rate``, latency without coordinated omission).
"""

import argparse
import asyncio
import itertools
import json
import resource
import sys
import time
import uuid
from array import array
from urllib.parse import urlsplit

import uvloop

_UPGRADE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Protocol: ws.jambonz.org\r\n\r\n"
)
# What jambonz tells of a call with each hook (PROTOCOL.md 2.8), about 600 bytes.
_FACTS = (
    '"direction":"inbound","from":"+14155550111","to":"+14155550100","call_id":"7f1c-22@10.1.0.7",'
    '"sbc_callid":"a81bc81b-dead","sip_status":200,"sip_reason":"OK","call_status":"in-progress",'
    '"account_sid":"9f7b1d52-0000-0000-0000-000000000000","trace_id":"80f198ee56343ba864fe8b2a57d3eff7",'
    '"application_sid":"41c0a9d7-0000-0000-0000-000000000000","fs_sip_address":"10.1.0.20:5060",'
    '"originating_sip_ip":"203.0.113.9"'
)


def client_frame(payload: bytes) -> bytes:
    """Return a text frame masked with zeros, so that the payload stays as it is."""
    size = len(payload)
    if size < 126:
        head = bytes((0x81, 0x80 | size))
    elif size < 65536:
        head = bytes((0x81, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x81, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


class Caller(asyncio.Protocol):
    """One call. ``hook`` sends one; ``on_ack`` of the load is told of each ack."""

    def __init__(self, load: "Load", path: str, host: str) -> None:
        self.load = load
        self.call_sid = str(uuid.uuid4())
        self.sent_at_s = 0.0
        self.is_started = False
        self._upgrade = _UPGRADE.format(path=path, host=host).encode()
        self._buffer = bytearray()
        self._is_open = False
        self._msgids = itertools.count()
        sid = self.call_sid
        self._hook = (
            f'","call_sid":"{sid}","hook":"/bench","data":{{"call_sid":"{sid}",{_FACTS},'
            '"reason":"dtmfDetected","digits":"2"}}'
        ).encode()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self.transport = transport
        transport.write(self._upgrade)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Count acks; answer pings."""
        if not self._buffer and self._is_open:
            rest = self._frames(data)
            if rest:
                self._buffer += rest
            return
        self._buffer += data
        if not self._is_open:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            if not self._buffer.startswith(b"HTTP/1.1 101"):
                self.load.failed(bytes(self._buffer[:200]))
                return
            del self._buffer[: end + 4]
            self._is_open = True
            self._start()
        rest = self._frames(bytes(self._buffer))
        self._buffer[:] = rest

    def connection_lost(self, exc: Exception | None) -> None:
        """A call that is lost before the end is an error of the server."""
        self.load.lost(self)

    def hook(self, now_s: float) -> None:
        """Send the next hook."""
        self.sent_at_s = now_s
        payload = b'{"type":"verb:hook","msgid":"%d' % next(self._msgids) + self._hook
        self.transport.write(client_frame(payload))  # type: ignore[attr-defined]

    def _start(self) -> None:
        sid = self.call_sid
        new = (
            f'{{"type":"session:new","msgid":"new","call_sid":"{sid}","data":{{"sip":{{"headers":{{}},"raw":"INVITE"}},'
            f'"call_sid":"{sid}",{_FACTS}}}}}'
        )
        self.transport.write(client_frame(new.encode()))  # type: ignore[attr-defined]

    def _frames(self, data: bytes) -> bytes:
        at, size = 0, len(data)
        while size - at >= 2:
            opcode, length, head = data[at] & 0x0F, data[at + 1], 2
            if length == 126:
                if size - at < 4:
                    break
                length, head = int.from_bytes(data[at + 2 : at + 4], "big"), 4
            elif length == 127:
                if size - at < 10:
                    break
                length, head = int.from_bytes(data[at + 2 : at + 10], "big"), 10
            if size - at < head + length:
                break
            if opcode == 1 and data.startswith(b'{"type":"ack"', at + head):
                self.load.acked(self)
            elif opcode == 9:
                self.transport.write(bytes((0x8A, 0x80)) + b"\0\0\0\0")  # type: ignore[attr-defined]
            at += head + length
        return data[at:] if at else data


class Load:
    """All callers of one run; counts acks in the measured window only."""

    def __init__(self, calls: int, rate: float) -> None:
        self.calls = calls
        self.rate = rate
        self.acks = 0
        self.lost_calls = 0
        self.latencies_s = array("d")
        self.is_measuring = False
        self.is_ending = False
        self.idle: list[Caller] = []
        self.behind: list[float] = []
        self.started = asyncio.Event()
        self._started = 0
        self._now = time.perf_counter

    def acked(self, caller: Caller) -> None:
        """Note an ack; in the closed loop the next hook goes out at once."""
        now_s = self._now()
        if not caller.is_started:
            caller.is_started = True
            self._started += 1
            if self._started == self.calls:
                self.started.set()
            self.idle.append(caller)
            return
        if self.is_measuring:
            self.acks += 1
            self.latencies_s.append(now_s - caller.sent_at_s)
        if self.is_ending:
            return
        if not self.rate:
            caller.hook(now_s)
        elif self.behind:
            # It should have gone out earlier: the delay belongs to the latency.
            caller.hook(now_s)
            caller.sent_at_s = self.behind.pop(0)
        else:
            self.idle.append(caller)

    def lost(self, caller: Caller) -> None:
        """Note a socket that ended."""
        if not self.is_ending:
            self.lost_calls += 1

    def failed(self, answer: bytes) -> None:
        """End the run: the server does not take the handshake."""
        sys.exit(f"the server answered {answer!r}")


async def run(url: str, calls: int, seconds: float, warmup_s: float, rate: float) -> dict[str, object]:
    """Run one load and return its figures."""
    parts = urlsplit(url)
    assert parts.hostname, "the URL names a host"
    assert parts.port, "the URL names a port"
    load = Load(calls, rate)
    loop = asyncio.get_running_loop()
    callers = []
    for _ in range(calls):
        _, caller = await loop.create_connection(
            lambda: Caller(load, parts.path, parts.netloc), parts.hostname, parts.port
        )
        callers.append(caller)
    async with asyncio.timeout(60):
        await load.started.wait()
    # The gateway holds commands, not acks, after session:new; nothing else has to settle.
    pacer = asyncio.create_task(_pace(load)) if rate else None
    if not rate:
        load.idle.clear()
        for caller in callers:
            caller.hook(time.perf_counter())
    await asyncio.sleep(warmup_s)
    print("measuring", flush=True)
    load.is_measuring = True
    usage = resource.getrusage(resource.RUSAGE_SELF)
    began_s = time.perf_counter()
    await asyncio.sleep(seconds)
    load.is_measuring = False
    took_s = time.perf_counter() - began_s
    spent = resource.getrusage(resource.RUSAGE_SELF)
    print("measured", flush=True)
    load.is_ending = True
    if pacer:
        pacer.cancel()
    # The starter reads what the servers have spent before the calls end.
    await loop.run_in_executor(None, sys.stdin.readline)
    for caller in callers:
        caller.transport.write(bytes((0x88, 0x82, 0, 0, 0, 0)) + (1000).to_bytes(2, "big"))  # type: ignore[attr-defined]
    await asyncio.sleep(0.2)
    cpu_s = spent.ru_utime + spent.ru_stime - usage.ru_utime - usage.ru_stime
    latencies = sorted(load.latencies_s)
    return {
        "events": load.acks,
        "seconds": took_s,
        "generator_cpu_s": cpu_s,
        "lost_calls": load.lost_calls,
        **{name: _percentile(latencies, part) for name, part in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))},
    }


async def _pace(load: Load) -> None:
    began_s, sent = time.perf_counter(), 0
    while True:
        now_s = time.perf_counter()
        due = int((now_s - began_s) * load.rate) - sent
        for number in range(due):
            if load.idle:
                load.idle.pop().hook(now_s)
            else:
                load.behind.append(began_s + (sent + number) / load.rate)
        sent += due
        await asyncio.sleep(0.001)


def _percentile(values: list[float], part: float) -> float:
    return values[min(len(values) - 1, int(len(values) * part))] if values else float("nan")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--calls", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warmup", type=float, default=2.0)
    parser.add_argument("--rate", type=float, default=0.0, help="hooks per second; 0 is the closed loop")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(run(options.url, options.calls, options.seconds, options.warmup, options.rate))
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()

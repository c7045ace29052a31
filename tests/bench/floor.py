"""What one hook and its ack cost any program here: one send, one receive over loopback, nothing else."""

import resource
import socket
import statistics

from tests.bench.frames import CallFrames

PAIRS = 256
TURNS = 40
# An ack with the two verbs of the benchmark.
ACK_BYTES = 230


def socket_floor_us() -> float:
    """Return the CPU, in microseconds, of sending a hook and receiving an ack; half of a round trip's two ends."""
    hook, ack = bytes(CallFrames().hook), b"x" * ACK_BYTES
    with socket.create_server(("127.0.0.1", 0), backlog=PAIRS) as listener:
        ends = [(socket.create_connection(listener.getsockname()), listener.accept()[0]) for _ in range(PAIRS)]
    for ours, theirs in ends:
        for end in (ours, theirs):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    samples = []
    for _ in range(TURNS):
        before = resource.getrusage(resource.RUSAGE_SELF)
        for ours, _ in ends:
            ours.send(hook)
        for _, theirs in ends:
            theirs.recv(8192)
            theirs.send(ack)
        for ours, _ in ends:
            ours.recv(8192)
        after = resource.getrusage(resource.RUSAGE_SELF)
        samples.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    for ours, theirs in ends:
        ours.close()
        theirs.close()
    return statistics.median(samples) / PAIRS / 2 * 1e6

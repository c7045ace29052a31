"""The load generator, a process of its own: ``python -m tests.bench.generator URL LOAD-AS-JSON``.

It writes one JSON object per line: marks (``{"mark": "begin"}``), at which the starter reads what the servers have
used so far, and at the end the figures. At a mark that waits it goes on when it gets a line on its standard input.
"""

import gc
import json
import math
import resource
import sys
import time
from array import array
from collections import deque
from typing import Final
from urllib.parse import urlsplit

from tests.bench.caller import Caller, Crowd
from tests.bench.figures import Figures, percentile, percentiles
from tests.bench.loads import Kind, Load
from tests.bench.storm import Storm

SET_UP_LIMIT_S: Final = 90.0
SETTLE_LIMIT_S: Final = 6.0
# Hooks of the open model go out in groups no closer than this: each timer costs as much as a hook.
_GROUP_S: Final = 0.00025
_PEACE_S: Final = 1.5
# With many hooks in flight nobody has to be woken for each single ack: the server never runs dry meanwhile, as it has
# answered 12 of 256 hooks in this time at 50,000 events a second.
_LINGER_S: Final = 0.00025
_MANY_IN_FLIGHT: Final = 64


def mark(name: str, *, waits: bool = False) -> None:
    """Tell the starter where we are."""
    print(json.dumps({"mark": name, "waits": waits}), flush=True)
    if waits:
        sys.stdin.readline()


class Window:
    """The measured part of a load: what came in it, how late, and what it cost here."""

    def __init__(self, crowd: Crowd) -> None:
        self.latencies_s = array("d")
        self._crowd = crowd

    def begin(self) -> None:
        """Forget the warm-up."""
        del self.latencies_s[:]
        mark("begin")
        self._cpu_s, self._began_s = _cpu_s(), time.perf_counter()

    def end(self) -> Figures:
        """Return the figures; what comes later does not count."""
        cpu_s, took_s = _cpu_s() - self._cpu_s, time.perf_counter() - self._began_s
        mark("end")
        found = sorted(self.latencies_s)
        return {
            "acks": len(found), "seconds": took_s, "generator_cpu_s": cpu_s, **percentiles("", found)
        }  # fmt: skip


def closed(crowd: Crowd, load: Load) -> Figures:
    """Answer each ack with the next hook, of the call that has been silent for longest."""
    crowd.open(load.calls, limit_s=SET_UP_LIMIT_S)
    window = Window(crowd)
    append, hook = window.latencies_s.append, crowd.hook
    idle = deque(crowd.callers)
    at_rest, next_caller = idle.append, idle.popleft

    def acked(caller: Caller, now_s: float) -> None:
        append(now_s - caller.due_s)
        caller.due_s = 0.0
        at_rest(caller)
        hook(next_caller(), now_s)

    crowd.on_ack = acked
    in_flight = load.in_flight or load.calls
    for _ in range(in_flight):
        hook(next_caller(), time.perf_counter())
    linger_s = _LINGER_S if in_flight >= _MANY_IN_FLIGHT else 0.0
    _turn_for(crowd, load.warmup_s, linger_s)
    window.begin()
    _turn_for(crowd, load.seconds, linger_s)
    return window.end()


def paced(crowd: Crowd, load: Load) -> Figures:
    """Send hooks at a fixed rate; a hook that has to wait, for a free call or for us, is late from when it was due."""
    crowd.open(load.calls, limit_s=SET_UP_LIMIT_S)
    window = Window(crowd)
    idle = deque(crowd.callers)
    behind: deque[float] = deque()
    group = max(1, math.ceil(load.rate * _GROUP_S))
    late_s = array("d")

    def acked(caller: Caller, now_s: float) -> None:
        window.latencies_s.append(now_s - caller.due_s)
        caller.due_s = 0.0
        if behind:
            crowd.hook(caller, behind.popleft())
        else:
            idle.append(caller)

    def run_for(seconds: float) -> None:
        due_s = time.perf_counter()
        until_s = due_s + seconds
        while (now_s := time.perf_counter()) < until_s:
            while due_s <= now_s:
                late_s.append(now_s - due_s)
                for _ in range(group):
                    if idle:
                        crowd.hook(idle.popleft(), due_s)
                    else:
                        behind.append(due_s)
                due_s += group / load.rate
            crowd.turn(max(0.0, due_s - time.perf_counter()))

    crowd.on_ack = acked
    run_for(load.warmup_s)
    del late_s[:]
    window.begin()
    run_for(load.seconds)
    figures = window.end()
    return figures | {"behind": len(behind), "late_p50_s": percentile(sorted(late_s), 0.5)}


def churn(crowd: Crowd, load: Load) -> Figures:
    """Make short calls, so many at a time: handshake, session:new, one hook, the end."""
    window = Window(crowd)
    set_up_s = array("d")
    hooked: set[Caller] = set()

    def acked(caller: Caller, now_s: float) -> None:
        if caller in hooked:
            hooked.discard(caller)
            caller.due_s = 0.0
            crowd.hang_up(caller)
            return
        set_up_s.append(now_s - caller.opened_at_s)
        hooked.add(caller)
        crowd.hook(caller, now_s)

    def ended(caller: Caller) -> None:
        window.latencies_s.append(time.perf_counter() - caller.opened_at_s)
        crowd.callers.remove(caller)
        if is_going_on:
            crowd.open_one()

    is_going_on = True
    crowd.on_ack, crowd.on_end = acked, ended
    for _ in range(load.calls):
        crowd.open_one()
    _turn_for(crowd, load.warmup_s)
    del set_up_s[:]
    window.begin()
    _turn_for(crowd, load.seconds)
    figures = window.end() | percentiles("set_up_", sorted(set_up_s))
    is_going_on = False
    until_s = time.perf_counter() + SETTLE_LIMIT_S
    while crowd.callers and time.perf_counter() < until_s:
        crowd.turn(0.05)
    return figures


def idle(crowd: Crowd, load: Load) -> Figures:
    """Add silent calls, let them be, then break their sockets all at once and let them come back."""
    crowd.open(load.few_calls, limit_s=SET_UP_LIMIT_S)
    _rest(crowd, "few")
    mark("set-up-begin", waits=True)
    began_s = time.perf_counter()
    crowd.open(load.calls - load.few_calls, limit_s=SET_UP_LIMIT_S)
    set_up_s = time.perf_counter() - began_s
    mark("set-up-end", waits=True)
    _rest(crowd, "many")
    mark("begin", waits=True)
    _turn_for(crowd, load.seconds)
    mark("end", waits=True)
    figures = {"seconds": load.seconds, "set_up_per_s": (load.calls - load.few_calls) / set_up_s}
    return figures | (_storm(crowd, crowd.callers[: load.storm_calls]) if load.storm_calls else {})


def _storm(crowd: Crowd, callers: list[Caller]) -> Figures:
    mark("storm-begin", waits=True)
    figures = Storm(crowd, callers).run(SET_UP_LIMIT_S)
    mark("storm-end", waits=True)
    # They are whole again if each gets an ack for a hook; what is missing is counted when all settle.
    for caller in callers:
        if caller.is_open:
            crowd.hook(caller, time.perf_counter())
    return figures


def _rest(crowd: Crowd, name: str) -> None:
    """Let the servers finish what is left, then have their memory read."""
    _turn_for(crowd, _PEACE_S)
    mark(name, waits=True)


def _turn_for(crowd: Crowd, seconds: float, linger_s: float = 0.0) -> None:
    until_s = time.perf_counter() + seconds
    while (left_s := until_s - time.perf_counter()) > 0:
        crowd.turn(min(left_s, 0.1))
        if linger_s:
            time.sleep(linger_s)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run from the command line."""
    url, load = urlsplit(sys.argv[1]), Load.from_json(sys.argv[2])
    assert url.hostname, "the URL names a host"
    assert url.port, "the URL names a port"
    crowd = Crowd(url.hostname, url.port, url.path, has_notices=load.has_notices)
    # Nothing here is in a cycle.
    gc.disable()
    run = {Kind.CLOSED: closed, Kind.OPEN: paced, Kind.CHURN: churn, Kind.IDLE: idle}[load.kind]
    figures = run(crowd, load)
    figures["unanswered"] = crowd.settle(limit_s=SETTLE_LIMIT_S)
    figures |= {"lost": crowd.lost, "guarded": crowd.guarded, "strange": crowd.strange}
    crowd.close()
    print(json.dumps({"figures": figures}), flush=True)


if __name__ == "__main__":
    main()

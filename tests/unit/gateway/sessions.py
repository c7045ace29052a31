"""A Session under test: what jambonz and Redis say goes in, effects come out, the clock moves only when told."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from jambonz_gateway.effects import CloseSocket, Count, Effect, Ping, Publish, ReadLog, Report, Send
from jambonz_gateway.holding import Pools
from jambonz_gateway.owed import Fallbacks
from jambonz_gateway.policy import SessionPolicy
from jambonz_gateway.session import Session
from jambonz_shared.directive import (
    Ack,
    BatchSent,
    ChannelMessage,
    Command,
    ConnectionAttached,
    ConnectionLeft,
    Directive,
    OwnerChanged,
    encode_batch,
)
from jambonz_shared.redis.scripts import Attached
from jambonz_shared.wire import redirect_frame

CALL: Final = "call-a"
LEG: Final = "leg-b"
GATEWAY: Final = "gw-1"
WORKER: Final = "worker-1"
START_S: Final = 100.0
GATE_S: Final = 0.25
START_MS: Final = 1_700_000_000_000

# A pong to the newest ping, whichever number that has.
ALL_PINGS: Final = 1 << 31

SAY: Final = b'[{"verb":"say","text":"hi"}]'


def message(
    kind: str, msgid: str, *, sid: str | None = CALL, top: str | None = CALL, hook: str | None = None, **data: Any
) -> bytes:
    """Return a frame in jambonz's member order; ``sid`` and ``top`` of None leave the member out."""
    frame: dict[str, Any] = {"type": kind, "msgid": msgid}
    if top is not None:
        frame["call_sid"] = top
    if hook is not None:
        frame["hook"] = hook
    frame["data"] = ({"call_sid": sid} if sid is not None else {}) | data
    return orjson.dumps(frame)


def session_new(msgid: str = "new", *, direction: str = "inbound", sid: str = CALL) -> bytes:
    return message("session:new", msgid, sid=sid, top=sid, direction=direction)


def hook(msgid: str, path: str = "/menu", *, sid: str | None = CALL, top: str | None = CALL, **data: Any) -> bytes:
    return message("verb:hook", msgid, sid=sid, top=top, hook=path, **data)


def status(call_status: str, msgid: str = "s", *, sid: str | None = CALL, top: str | None = CALL) -> bytes:
    return message("call:status", msgid, sid=sid, top=top, call_status=call_status)


def ack(directive_id: str, msgid: str, data: bytes = SAY, *, epoch: int = 1, may_redirect: bool = True) -> Ack:
    """Return an Ack whose sender wants to know what became of it."""
    return Ack(directive_id, epoch, msgid, data, may_redirect, WORKER)


def command(directive_id: str, text: str = "hi") -> Command:
    """Return a redirect command whose sender wants to know what became of it."""
    verbs = orjson.dumps([{"verb": "say", "text": text}])
    return Command(directive_id, redirect_frame(verbs, call_sid=CALL), WORKER)


@dataclass(frozen=True, slots=True)
class Published:
    """What matters of a Publish effect."""

    worker_id: str
    call_sid: str
    epoch: int
    n: int
    msgid: str


class Bench:
    """One Session, its clock, and short names for what can happen to it; each returns the effects."""

    def __init__(
        self,
        *,
        policy: SessionPolicy | None = None,
        fallbacks: Fallbacks | None = None,
        call_sid: str = "",
        pools: Pools | None = None,
    ) -> None:
        self.now_s = START_S
        policy = policy or SessionPolicy(gate_s=GATE_S)
        self.session = Session(
            GATEWAY, now_s=START_S, policy=policy, fallbacks=fallbacks, call_sid=call_sid, pools=pools
        )

    def hears(self, frame: bytes) -> list[Effect]:
        """Let jambonz send a message."""
        return self.session.receive(frame, self.now_s, START_MS)

    def pong(self, number: int = ALL_PINGS) -> list[Effect]:
        """Let jambonz answer a ping, by default the newest."""
        return self.session.pong(number, self.now_s)

    def later(self, seconds: float) -> list[Effect]:
        """Let time pass, then tick."""
        self.now_s += seconds
        return self.session.tick(self.now_s)

    def attached(
        self,
        call_sid: str = CALL,
        *,
        epoch: int = 1,
        owner: str = "",
        fence: int = 0,
        seq: int = 0,
        is_acked: bool = False,
        existed: bool = False,
        live: Iterable[int] = (),
        is_passed_over: bool = False,
    ) -> list[Effect]:
        """Let Redis confirm the attachment."""
        epochs = tuple(live) or (epoch,)
        attached = Attached(epoch, owner, fence, seq, is_acked, existed, epochs, is_passed_over=is_passed_over)
        return self.session.attached(call_sid, attached)

    def channel(self, said: ChannelMessage, call_sid: str = CALL) -> list[Effect]:
        """Let a message of the call channel arrive."""
        return self.session.channel(call_sid, said, self.now_s)

    def batch(self, seq: int, *directives: Directive, call_sid: str = CALL) -> list[Effect]:
        """Let a live batch arrive."""
        return self.channel(BatchSent(seq, encode_batch(directives)), call_sid)

    def log(self, *entries: tuple[int, list[Directive]], call_sid: str = CALL) -> list[Effect]:
        """Answer the last ReadLog."""
        route = self.session.routes.get(call_sid)
        return self.answer(route.asked if route else ReadLog(call_sid, 0, 0), *entries)

    def answer(self, wanted: ReadLog, *entries: tuple[int, list[Directive]]) -> list[Effect]:
        """Answer one of several ReadLogs."""
        batches = [(seq, encode_batch(directives)) for seq, directives in entries]
        return self.session.log_read(wanted, batches, self.now_s)

    def owner(self, worker_id: str = WORKER, fence: int = 1, call_sid: str = CALL) -> list[Effect]:
        """Let a worker claim the Call; empty: let it lose its owner."""
        return self.channel(OwnerChanged(fence, worker_id), call_sid)

    def newer(self, epoch: int = 2, line: str = "side", call_sid: str = CALL) -> list[Effect]:
        """Let another Connection attach."""
        return self.channel(ConnectionAttached(epoch, line), call_sid)

    def left(self, epoch: int = 2, call_sid: str = CALL) -> list[Effect]:
        """Let another Connection leave."""
        return self.channel(ConnectionLeft(epoch), call_sid)


def attached_call(policy: SessionPolicy | None = None, fallbacks: Fallbacks | None = None) -> Bench:
    """Return a Bench with an inbound call: session:new is at its owner and waits for its ack."""
    bench = Bench(policy=policy, fallbacks=fallbacks)
    bench.hears(session_new())
    bench.attached()
    bench.owner()
    return bench


def running_call(policy: SessionPolicy | None = None, fallbacks: Fallbacks | None = None) -> Bench:
    """Return a Bench with an inbound call that runs: acked by batch 1, gate open, nothing owed."""
    bench = attached_call(policy, fallbacks)
    bench.batch(1, Ack("start", 1, "new", SAY))
    bench.pong()
    bench.hears(status("trying"))
    assert bench.session.owed_count == 0
    return bench


def with_leg(bench: Bench) -> Bench:
    """Return the Bench with a B leg on its socket, which the parent's owner has claimed."""
    bench.hears(hook("leg-1", sid=LEG))
    bench.attached(LEG)
    bench.owner(call_sid=LEG)
    bench.batch(1, Ack("leg-start", 1, "leg-1", b""), call_sid=LEG)
    return bench


def sent(effects: Iterable[Effect]) -> list[dict[str, Any]]:
    """Return the messages that go to jambonz."""
    return [orjson.loads(effect.frame) for effect in effects if isinstance(effect, Send)]


def acks(effects: Iterable[Effect]) -> dict[str, Any]:
    """Return the acks that go to jambonz: data by msgid; None without data."""
    return {frame["msgid"]: frame.get("data") for frame in sent(effects) if frame["type"] == "ack"}


def commands(effects: Iterable[Effect]) -> list[str]:
    """Return the texts of the say verbs in the redirect commands that go to jambonz."""
    frames = [frame for frame in sent(effects) if frame["type"] == "command"]
    return [verb["text"] for frame in frames for verb in frame["data"]]


def published(effects: Iterable[Effect]) -> list[Published]:
    """Return where events go, in order."""
    return [
        Published(effect.worker_id, envelope.call_sid, envelope.epoch, envelope.n, envelope.msgid)
        for effect in effects
        if isinstance(effect, Publish)
        for envelope in (effect.envelope,)
    ]


def kinds_published(effects: Iterable[Effect]) -> list[str]:
    """Return the kinds of the events that go out, in order."""
    return [effect.envelope.kind for effect in effects if isinstance(effect, Publish)]


def numbers(effects: Iterable[Effect]) -> list[tuple[str, int]]:
    """Return worker and n of each event that goes out, in order."""
    return [(event.worker_id, event.n) for event in published(effects)]


def pings(effects: Iterable[Effect]) -> list[int]:
    """Return the numbers of the pings that go to jambonz."""
    return [effect.number for effect in effects if isinstance(effect, Ping)]


def outcomes(effects: Iterable[Effect]) -> list[tuple[str, str]]:
    """Return what senders are told: directive id and outcome."""
    return [
        (effect.outcome.directive_id, effect.outcome.kind.value) for effect in effects if isinstance(effect, Report)
    ]


def close_codes(effects: Iterable[Effect]) -> list[int]:
    """Return the codes the socket is closed with."""
    return [effect.code for effect in effects if isinstance(effect, CloseSocket)]


def counted(effects: Iterable[Effect]) -> list[str]:
    """Return what is counted."""
    return [effect.name for effect in effects if isinstance(effect, Count)]

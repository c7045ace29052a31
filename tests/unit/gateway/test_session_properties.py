"""Whatever happens in whatever order: no error, each hook answered once and in time, numbers without holes."""

from collections import defaultdict
from typing import Final

import orjson
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jambonz_gateway.effects import Attach, CloseSocket, Delivered, Detach, Effect, Publish, ReadLog, Send
from jambonz_gateway.holding import Pools
from jambonz_gateway.policy import SessionPolicy
from jambonz_gateway.session import Session
from jambonz_shared.directive import (
    Ack,
    BatchSent,
    CallEnded,
    Close,
    Command,
    ConnectionAttached,
    ConnectionLeft,
    Directive,
    OwnerChanged,
    encode_batch,
)
from jambonz_shared.envelope import Envelope
from jambonz_shared.redis.scripts import Attached
from tests.unit.gateway.sessions import ALL_PINGS, CALL, GATEWAY, LEG, SAY, START_MS, message

POLICY: Final = SessionPolicy(max_held_bytes=700)
HOOKS: Final = (
    "session:new",
    "session:reconnect",
    "session:redirect",
    "session:adulting",
    "verb:hook",
    "dial:confirm",
)
NOTICES: Final = ("call:status", "verb:status", "tts:tokens-result", "agent:event")
SIDS: Final = st.sampled_from([CALL, CALL, LEG, None])
WORKERS: Final = st.sampled_from(["", "worker-1", "worker-2"])
SECONDS: Final = st.sampled_from([0.1, 0.5, 3.5, 4.0, 6.0])
# What ends a socket is rare, or no history would be long.
SELDOM: Final = st.integers(0, 9).map(lambda roll: roll == 9)
PATIENT: Final = ("the call is over", "this gateway is going away")


class Weather(RuleBasedStateMachine):
    """Jambonz, Redis, workers and time do what they like; the socket and its clock do as the Session says."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0
        self.pools = Pools(POLICY.max_held_bytes)
        self.session = Session(GATEWAY, now_s=self.now_s, policy=POLICY, pools=self.pools)
        self.is_open = True
        self.messages = 0
        self.owed: dict[str, float] = {}
        self.answered: list[str] = []
        self.attaching: list[Attach] = []
        self.detaching: list[Detach] = []
        self.reading: list[ReadLog] = []
        self.in_flight: list[tuple[str, Envelope]] = []
        self.numbers: dict[tuple[str, int], int] = defaultdict(int)
        self.epochs: dict[str, int] = defaultdict(int)
        self.seqs: dict[str, int] = defaultdict(int)
        self.log: dict[str, dict[int, bytes]] = defaultdict(dict)
        self.fences: dict[str, int] = defaultdict(int)

    # The shell.

    def carry_out(self, effects: list[Effect]) -> None:
        closes_with: int | None = None
        for effect in effects:
            match effect:
                case Send(frame):
                    self._sent(frame)
                case CloseSocket(code, reason):
                    assert not (self.owed and reason.startswith(PATIENT)), "it waits until nothing is owed"
                    closes_with = code
                case Publish(worker_id, envelope):
                    self._published(worker_id, envelope)
                case Attach():
                    self.attaching.append(effect)
                case Detach():
                    self.detaching.append(effect)
                case ReadLog():
                    self.reading.append(effect)
                case Delivered(call_sid, seq):
                    self.log[call_sid].pop(seq, None)
                case _:
                    pass
        if closes_with is not None:
            # A socket is never closed at once, so what comes behind is carried out before the Session hears of it.
            self._close(closes_with, by_us=True)

    def _sent(self, frame: bytes) -> None:
        assert self.is_open, "nothing is sent on a closed socket"
        assert len(frame) <= 24_000
        answer = orjson.loads(frame)
        if answer["type"] == "ack":
            assert self.owed.pop(answer["msgid"], None) is not None, "each hook is answered once, and nothing else is"
            self.answered.append(answer["msgid"])

    def _published(self, worker_id: str, envelope: Envelope) -> None:
        lane = envelope.call_sid, envelope.epoch
        assert envelope.n <= self.numbers[lane] + 1, "numbers have no holes"
        self.numbers[lane] = max(self.numbers[lane], envelope.n)
        self.in_flight.append((worker_id, envelope))

    def _close(self, code: int, *, by_us: bool) -> None:
        if self.is_open:
            self.is_open = False
            self.owed.clear()
            self.carry_out(self.session.closed(code, by_us=by_us))

    # Jambonz.

    @initialize(kind=st.sampled_from(["session:new", "session:reconnect", "call:status", "session:adulting"]))
    def begins(self, kind: str) -> None:
        """Most sockets begin as they should; ``says`` makes the others."""
        self.says(kind, CALL, None if kind == "session:adulting" else CALL, inbound=True, final=False)

    @precondition(lambda self: self.is_open)
    @rule(kind=st.sampled_from(HOOKS + NOTICES), sid=SIDS, top=SIDS, inbound=st.booleans(), final=st.booleans())
    def says(self, kind: str, sid: str | None, top: str | None, *, inbound: bool, final: bool) -> None:
        self.messages += 1
        msgid = f"m{self.messages}"
        facts = {
            "direction": "inbound" if inbound else "outbound",
            "call_status": "completed" if final else "in-progress",
        }
        if kind in HOOKS:
            self.owed[msgid] = self.now_s + 4.0
        self.carry_out(self.session.receive(message(kind, msgid, sid=sid, top=top, **facts), self.now_s, START_MS))

    @precondition(lambda self: self.is_open)
    @rule(frame=st.sampled_from([b"", b"{}", b"[" * 2000, b'{"type":"cluster:ended","msgid":"x","data":{}}']))
    def says_nonsense(self, frame: bytes) -> None:
        self.carry_out(self.session.receive(frame, self.now_s, START_MS))

    @precondition(lambda self: self.is_open)
    @rule(number=st.sampled_from([0, 1, ALL_PINGS]))
    def answers_a_ping(self, number: int) -> None:
        self.carry_out(self.session.pong(number, self.now_s))

    @precondition(lambda self: self.is_open)
    @rule(code=st.sampled_from([1000, 1001, 1006, 1012]), is_due=SELDOM)
    def closes(self, code: int, *, is_due: bool) -> None:
        if is_due:
            self._close(code, by_us=False)

    # Redis.

    @precondition(lambda self: self.attaching)
    @rule(owner=WORKERS, existed=st.booleans(), acked=st.booleans(), others=st.sets(st.integers(1, 3)))
    def attaches(self, owner: str, others: set[int], *, existed: bool, acked: bool) -> None:
        call_sid = self.attaching.pop(0).call_sid
        self.epochs[call_sid] += 1
        epoch = self.epochs[call_sid]
        epochs = tuple(sorted({epoch} | others))
        attached = Attached(epoch, owner, self.fences[call_sid], self.seqs[call_sid], acked, existed, epochs)
        self.carry_out(self.session.attached(call_sid, attached))

    @precondition(lambda self: any(route.epoch for route in self.session.routes.values()))
    @rule(owner=WORKERS, existed=st.booleans())
    def attaches_again(self, owner: str, *, existed: bool) -> None:
        """The link was down; what was being read or detached is asked for again."""
        self.reading.clear()
        for call_sid, route in list(self.session.routes.items()):
            if route.epoch:
                seq = self.seqs[call_sid]
                attached = Attached(route.epoch, owner, self.fences[call_sid], seq, is_acked=True, existed=existed)
                self.carry_out(self.session.attached(call_sid, attached))

    @rule(call_sid=st.sampled_from([CALL, LEG]), is_due=SELDOM)
    def refuses(self, call_sid: str, *, is_due: bool) -> None:
        if is_due and any(attach.call_sid == call_sid for attach in self.attaching):
            self.attaching = [attach for attach in self.attaching if attach.call_sid != call_sid]
            self.carry_out(self.session.refused(call_sid))

    @precondition(lambda self: self.reading)
    @rule()
    def tells_the_log(self) -> None:
        wanted = self.reading.pop(0)
        entries = [(s, raw) for s, raw in sorted(self.log[wanted.call_sid].items()) if s > wanted.after_seq]
        self.carry_out(self.session.log_read(wanted, entries, self.now_s))

    @precondition(lambda self: self.detaching)
    @rule(left=st.integers(-1, 1))
    def detaches(self, left: int) -> None:
        self.carry_out(self.session.detached(self.detaching.pop(0).call_sid, left, START_MS))

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def has_no_such_inbox(self, data: st.DataObject) -> None:
        to_workers = [item for item in self.in_flight if item[0]]
        if to_workers:
            item = data.draw(st.sampled_from(to_workers))
            self.in_flight.remove(item)
            self.carry_out(self.session.returned(*item))

    @rule(call_sid=st.sampled_from([CALL, LEG]), owner=WORKERS)
    def names_an_owner(self, call_sid: str, owner: str) -> None:
        self.fences[call_sid] += 1
        self.carry_out(self.session.channel(call_sid, OwnerChanged(self.fences[call_sid], owner), self.now_s))

    @rule(
        call_sid=st.sampled_from([CALL, LEG]),
        epoch=st.integers(1, 5),
        line=st.sampled_from(["side", "side", "side", "leg", "main"]),
        left=st.booleans(),
    )
    def tells_of_another_connection(self, call_sid: str, epoch: int, line: str, *, left: bool) -> None:
        notice = ConnectionLeft(epoch) if left else ConnectionAttached(epoch, line)
        self.carry_out(self.session.channel(call_sid, notice, self.now_s))

    @rule(call_sid=st.sampled_from([CALL, LEG]))
    def is_deaf_for_a_while(self, call_sid: str) -> None:
        self.carry_out(self.session.resubscribed(call_sid))
        self.carry_out(self.session.channel(call_sid, CallEnded(), self.now_s))

    # Workers.

    @rule(call_sid=st.sampled_from([CALL, LEG]), number=st.integers(1, 12), epoch=st.integers(0, 3), lost=st.booleans())
    def answer(self, call_sid: str, number: int, epoch: int, *, lost: bool) -> None:
        self._commit(call_sid, [Ack("a", epoch, f"m{number}", SAY, True, "w")], is_lost=lost)

    @rule(call_sid=st.sampled_from([CALL, LEG]), code=st.sampled_from([0, 0, 0, 0, 7, 1012]), lost=st.booleans())
    def command(self, call_sid: str, code: int, *, lost: bool) -> None:
        directive = Close("x", code, "w") if code else Command("c", b'{"type":"command"}', "w")
        self._commit(call_sid, [directive], is_lost=lost)

    def _commit(self, call_sid: str, directives: list[Directive], *, is_lost: bool) -> None:
        self.seqs[call_sid] += 1
        seq, raw = self.seqs[call_sid], encode_batch(directives)
        self.log[call_sid][seq] = raw
        if not is_lost:
            self.carry_out(self.session.channel(call_sid, BatchSent(seq, raw), self.now_s))

    # Time and operators.

    @rule(seconds=SECONDS)
    def passes(self, seconds: float) -> None:
        """Let time pass as the Wheel does: the Session is woken when it asked to be."""
        until_s = self.now_s + seconds
        while (wake_at_s := self.session.wake_at_s) <= until_s:
            self.now_s = max(self.now_s, wake_at_s)
            self.carry_out(self.session.tick(self.now_s))
            again_s = self.session.wake_at_s
            assert again_s > self.now_s, "a tick does what is due"
        self.now_s = until_s

    @rule(is_due=SELDOM)
    def drains(self, *, is_due: bool) -> None:
        if is_due:
            self.carry_out(self.session.drain(self.now_s))

    # What always holds.

    @invariant()
    def no_hook_is_overdue(self) -> None:
        """P1, on every socket that is open, a moment after its deadline."""
        overdue = [msgid for msgid, deadline_s in self.owed.items() if deadline_s < self.now_s]
        assert not overdue, "each hook is answered by its deadline"

    @invariant()
    def books_balance(self) -> None:
        assert self.session.owed_count == len(self.owed)
        held = self.session.routes.values()
        assert self.session.held_bytes >= sum(route.held_bytes for route in held) >= 0
        assert self.session.held_bytes == self.pools.held.used_bytes
        assert self.pools.unanswered.used_bytes >= 0
        assert self.session.owed_count or not self.pools.unanswered.used_bytes
        known = self.session.known(CALL)
        assert known.fence >= 0

    def teardown(self) -> None:
        """P8: when the socket is gone and Redis has answered everything, nothing is left."""
        self._close(1006, by_us=False)
        while self.attaching or self.detaching:
            if self.attaching:
                self.attaches(owner="", others=set(), existed=True, acked=True)
            else:
                self.detaches(left=0)
        assert self.session.is_finished
        assert (self.pools.held.used_bytes, self.pools.unanswered.used_bytes) == (0, 0)


class TestWeather(Weather.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(
        max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )

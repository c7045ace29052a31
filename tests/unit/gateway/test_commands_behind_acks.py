"""Commands behind an ack with verbs: jambonz does them as it reads them, and what the ack says only afterwards.

Found with jambonz' own websocket client: of 50 answers of 33 kB, in an ack and two appends, 49 lost their end.
"""

import pytest

from jambonz_gateway.effects import Delivered, MarkAcked
from jambonz_gateway.policy import NEVER, SessionPolicy
from jambonz_shared.directive import Close, Directive
from tests.unit.gateway.sessions import (
    CALL,
    WORKER,
    Bench,
    ack,
    acks,
    attached_call,
    close_codes,
    command,
    commands,
    hook,
    message,
    outcomes,
    pings,
    running_call,
    sent,
    session_new,
    status,
)

BELIEVED_S = 1.0
PATIENT = SessionPolicy(gate_s=BELIEVED_S)


def asked(*msgids: str) -> Bench:
    """Return a call that waits for answers to these hooks."""
    bench = running_call(PATIENT)
    for msgid in msgids:
        bench.hears(hook(msgid))
    return bench


def test_command_waits_until_the_ack_is_read() -> None:
    """Appended verbs would be thrown away with the ones that the ack replaces."""
    bench = asked("m1")
    effects = bench.batch(2, ack("d1", "m1"), command("c1", "one"), command("c2", "two"))
    assert [frame["type"] for frame in sent(effects)] == ["ack"]
    assert len(pings(effects)) == 1
    assert outcomes(effects) == [("d1", "sent")]
    assert Delivered(CALL, 2) not in effects, "the next socket must find them"
    effects = bench.pong()
    assert commands(effects) == ["one", "two"]
    assert outcomes(effects) == [("c1", "sent"), ("c2", "sent")]
    assert Delivered(CALL, 2) in effects
    assert not bench.session.wake_at_s <= bench.now_s
    assert commands(bench.batch(3, command("c3", "three"))) == ["three"]


def test_command_of_a_later_commit_waits_as_well() -> None:
    """Work that the handler has started, or another process: it may come in the same read of jambonz."""
    bench = asked("m1")
    assert not pings(bench.batch(2, ack("d1", "m1"))), "most acks are followed by nothing"
    bench.later(0.01)
    assert pings(bench.batch(3, command("c1")))
    assert commands(bench.pong()) == ["hi"]


def test_message_in_flight_proves_nothing() -> None:
    """jambonz may have sent it before it read the ack."""
    bench = asked("m1")
    bench.batch(2, ack("d1", "m1"), command("c1"))
    assert commands(bench.hears(status("in-progress"))) == []


@pytest.mark.parametrize("data", [b"[]", b""], ids=["no_verbs", "no_data"])
def test_ack_without_verbs_holds_nothing(data: bytes) -> None:
    """It changes nothing at jambonz."""
    bench = asked("m1")
    assert commands(bench.batch(2, ack("d1", "m1", data), command("c1"))) == ["hi"]


def test_command_long_after_the_ack_goes_at_once() -> None:
    """Nobody needs to be asked."""
    bench = asked("m1")
    bench.batch(2, ack("d1", "m1"))
    bench.later(BELIEVED_S)
    effects = bench.batch(3, command("c1"))
    assert commands(effects) == ["hi"]
    assert not pings(effects)


def test_peer_that_answers_no_ping_gets_its_commands_later() -> None:
    """Against RFC 6455 5.5.2."""
    bench = asked("m1")
    bench.batch(2, ack("d1", "m1"), command("c1"))
    assert bench.session.wake_at_s == bench.now_s + BELIEVED_S
    assert commands(bench.later(BELIEVED_S - 0.01)) == []
    assert commands(bench.later(0.01)) == ["hi"]


def test_only_the_pong_to_the_newest_ping_lets_commands_follow() -> None:
    """That of the keepalive, or of an answer before, was sent when jambonz had not read the newest one."""
    bench = asked("m1", "m2")
    (first,) = pings(bench.batch(2, ack("d1", "m1"), command("c1", "one")))
    effects = bench.later(BELIEVED_S)
    assert commands(effects) == ["one"]
    (second,) = pings(bench.batch(3, ack("d2", "m2"), command("c2", "two")))
    assert bench.pong(0) == bench.pong(first) == []
    assert commands(bench.pong(second)) == ["two"]


def test_ack_behind_a_waiting_command_keeps_its_place() -> None:
    """Two hooks overlap: the second answer would be replaced by what was said before it."""
    bench = asked("m1", "m2")
    effects = bench.batch(2, ack("d1", "m1"), command("c1", "one"))
    effects += bench.batch(3, ack("d2", "m2"), command("c2", "two"))
    assert list(acks(effects)) == ["m1"]
    effects = bench.pong()
    assert [frame["type"] for frame in sent(effects)] == ["command", "ack"]
    assert pings(effects), "a command waits for the second one, too"
    assert commands(bench.pong()) == ["two"]


def test_outbound_call_has_no_gate_and_waits_as_for_a_hook() -> None:
    """The ping behind session:new (ADR 0016) serves both."""
    bench = Bench(policy=PATIENT)
    bench.hears(session_new(direction="outbound"))
    bench.attached()
    bench.owner()
    effects = bench.batch(1, ack("d1", "new"), command("c1"))
    assert commands(effects) == []
    assert len(pings(effects)) == 1
    assert commands(bench.pong()) == ["hi"]


def test_acks_stay_when_commands_are_left_to_a_side_line() -> None:
    """Nobody else can answer the hooks of this websocket."""
    bench = asked("m1", "m2")
    bench.batch(2, ack("d1", "m1"), command("c1"))
    bench.batch(3, ack("d2", "m2"))
    bench.newer(line="side")
    effects = bench.pong()
    assert list(acks(effects)) == ["m2"]
    assert commands(effects) == []


def test_close_behind_an_ack_lets_it_be_read() -> None:
    """A websocket that is closed with the ack in its buffers may take it along."""
    bench = asked("m1")
    assert close_codes(bench.batch(2, ack("d1", "m1"), Close("x1", 1012))) == []
    assert close_codes(bench.pong()) == [1012]


def test_next_socket_finds_what_was_waiting() -> None:
    """jambonz has answered no ping, so it has not read the ack: its verbs are said as a redirect."""
    waiting: list[Directive] = [ack("d1", "m1", epoch=1), command("c1", "behind")]
    bench = asked("m1")
    effects = bench.batch(2, *waiting) + bench.session.closed(1006)
    assert Delivered(CALL, 2) not in effects
    bench = Bench(policy=PATIENT)
    bench.hears(message("session:reconnect", "r"))
    bench.attached(epoch=2, existed=True, is_acked=True, seq=2)
    assert commands(bench.log((2, waiting))) == ["hi", "behind"]


def test_inbound_call_has_its_gate_only() -> None:
    """session:new: the gate knows when jambonz takes commands."""
    bench = attached_call(PATIENT)
    effects = bench.batch(1, ack("d1", "new"), command("c1"))
    assert len(pings(effects)) == 1
    assert commands(bench.pong()) == []
    assert commands(bench.later(0.25)) == ["hi"]


def test_guard_that_answers_another_hook_meanwhile_asks_again() -> None:
    """What its fallback says must not be overtaken, either."""
    bench = Bench(policy=SessionPolicy(gate_s=BELIEVED_S, ack_deadline_s=0.5))
    bench.hears(session_new(direction="outbound"))
    bench.attached()
    bench.owner()
    bench.batch(1, ack("d1", "new"))
    bench.hears(message("verb:hook", "w", hook="/wait", queue_position=1))
    bench.later(0.4)
    assert not pings(bench.batch(2, command("c1"))), "that behind session:new is on its way"
    assert pings(bench.later(0.1))
    assert commands(bench.pong()) == ["hi"]


def test_late_answer_behind_a_waiting_command_keeps_its_place() -> None:
    """It has become a redirect: behind the verbs that were to be appended to it, it would throw them away."""
    bench = Bench(policy=PATIENT)
    bench.hears(message("session:reconnect", "r"))
    bench.attached(epoch=2, owner=WORKER, fence=1, existed=True, is_acked=True, seq=1)
    bench.hears(hook("m1"))
    bench.log()
    bench.batch(2, ack("d1", "m1", epoch=2))
    bench.batch(3, command("c1", "one"))
    effects = bench.batch(4, ack("d0", "m0", epoch=1), command("c2", "appended"))
    assert commands(effects) == []
    assert commands(bench.pong()) == ["one", "hi", "appended"]


def test_close_leaves_the_answers_behind_it_to_the_next_socket() -> None:
    """Those of other batches; what stands in its own is refused."""
    bench = asked("m1", "m2")
    bench.batch(2, ack("d1", "m1"), Close("x1", 1012), command("c1"))
    bench.batch(3, ack("d2", "m2"))
    effects = bench.pong()
    assert close_codes(effects) == [1012]
    assert outcomes(effects) == [("c1", "refused")]
    assert Delivered(CALL, 2) in effects
    assert Delivered(CALL, 3) not in effects
    assert bench.session.wake_at_s == NEVER


def test_pong_behind_session_new_tells_nothing_of_a_newer_answer() -> None:
    """It was asked for before that was written."""
    bench = Bench(policy=PATIENT)
    bench.hears(session_new(direction="outbound"))
    bench.attached()
    bench.owner()
    bench.batch(1, ack("d1", "new"))
    bench.hears(hook("m1"))
    bench.batch(2, ack("d2", "m1"))
    assert MarkAcked(CALL) in bench.pong()
    assert commands(bench.batch(3, command("c1"))) == []
    assert commands(bench.pong()) == ["hi"]

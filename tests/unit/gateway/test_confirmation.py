"""An ack of session:new counts when jambonz has read it: it answers the ping behind it (PROTOCOL.md 2.6.3)."""

from typing import Final

import orjson

from jambonz_gateway.effects import Delivered, MarkAcked, Ping, Send
from jambonz_gateway.policy import NEVER, SessionPolicy
from jambonz_shared.directive import Close, Directive, encode_batch
from tests.unit.gateway.sessions import (
    CALL,
    GATE_S,
    LEG,
    SAY,
    WORKER,
    Bench,
    ack,
    acks,
    attached_call,
    close_codes,
    command,
    commands,
    message,
    pings,
    session_new,
    status,
)

APPLICATION = orjson.loads(SAY)
PATIENT = SessionPolicy(gate_s=1.0)

ANSWER_AND_COMMAND: Final[list[Directive]] = [ack("d1", "new"), command("c1")]
COMMAND_IS_LEFT = MarkAcked(CALL, 1, encode_batch(ANSWER_AND_COMMAND[1:]))


def reconnected_before_the_pong() -> Bench:
    """Return a call whose socket died with the ack of session:new, which is still in the log."""
    bench = Bench(policy=PATIENT)
    bench.hears(message("session:reconnect", "r", direction="inbound"))
    bench.attached(epoch=2, owner=WORKER, fence=1, seq=1, existed=True, is_acked=False)
    return bench


def test_ack_is_followed_by_a_ping_and_counts_with_its_pong() -> None:
    """What is written to a socket that dies is lost, and nobody can tell."""
    bench = attached_call()
    effects = bench.batch(1, ack("d1", "new"))
    assert [type(effect) for effect in effects[:2]] == [Send, Ping]
    assert not any(isinstance(effect, MarkAcked | Delivered) for effect in effects)
    assert bench.pong() == [MarkAcked(CALL), Delivered(CALL, 1)]
    assert bench.pong() == []


def test_ack_that_died_with_its_socket_is_given_again() -> None:
    """An empty ack of the reconnect would reject the caller: 480, no application provided."""
    bench = attached_call()
    bench.batch(1, ack("d1", "new"))
    assert not any(isinstance(effect, MarkAcked | Delivered) for effect in bench.session.closed(1006))
    bench = reconnected_before_the_pong()
    assert acks(bench.log((1, [ack("d1", "new")]))) == {"r": APPLICATION}


def test_message_that_may_have_crossed_the_ack_confirms_nothing() -> None:
    """A status is sent whether the ack has been read or not."""
    bench = attached_call()
    bench.batch(1, ack("d1", "new"))
    assert MarkAcked(CALL) not in bench.hears(status("trying"))
    assert not bench.session.known(CALL).is_acked
    bench.pong()
    assert bench.session.known(CALL).is_acked


def test_peer_that_answers_no_ping_is_believed_after_the_gate_time() -> None:
    """It is no websocket peer then (RFC 6455 5.5.2), but its call must not stay in doubt for ever."""
    bench = attached_call()
    bench.batch(1, ack("d1", "new"))
    assert bench.session.wake_at_s == bench.now_s + GATE_S
    assert bench.later(GATE_S) == [MarkAcked(CALL), Delivered(CALL, 1)]
    assert bench.session.wake_at_s == NEVER


def test_fallback_counts_with_its_pong_too() -> None:
    """There is no batch to delete."""
    bench = attached_call()
    assert pings(bench.later(4.0)) == [1]
    assert bench.pong() == [MarkAcked(CALL)]


def test_commands_behind_the_ack_are_found_once() -> None:
    """Once they are written their batch must go, with or without a pong: they would be sent again."""
    bench = attached_call()
    bench.batch(1, *ANSWER_AND_COMMAND)
    effects = bench.later(GATE_S)
    assert commands(effects) == ["hi"]
    assert [effect for effect in effects if isinstance(effect, MarkAcked | Delivered)] == [
        COMMAND_IS_LEFT,
        Delivered(CALL, 1),
    ]
    assert bench.pong() == []


def test_close_in_the_batch_of_the_ack_is_found_once() -> None:
    """Found again by each socket that follows it would use up all reconnects."""
    bench = Bench()
    bench.hears(session_new(direction="outbound"))
    bench.attached()
    effects = bench.batch(1, ack("d1", "new", b""), Close("x", 1012, WORKER))
    assert close_codes(effects) == [1012]
    assert [effect for effect in effects if isinstance(effect, Delivered)] == [Delivered(CALL, 1)]
    assert MarkAcked(CALL) in effects


def test_bounce_waits_for_the_pong() -> None:
    """Closed before it has read the application, jambonz would ask for it again: one more of its four reconnects."""
    bench = reconnected_before_the_pong()
    bench.log((1, [ack("d1", "new")]))
    assert close_codes(bench.later(0.5)) == []
    bench.pong()
    assert close_codes(bench.later(0.0)) == [1012]


def test_bounce_comes_a_moment_behind_the_pong() -> None:
    """Jambonz takes up the application first. What comes for the closed socket is left in the log (P4)."""
    bench = reconnected_before_the_pong()
    bench.log((1, [ack("d1", "new")]))
    bench.pong()
    assert close_codes(bench.later(0.2)) == []
    assert bench.session.wake_at_s == bench.now_s + 0.05
    assert close_codes(bench.later(0.05)) == [1012]
    assert bench.batch(2, command("c2")) == []


def test_bounce_does_not_wait_for_ever() -> None:
    """Without a pong it comes when the gate would open."""
    bench = reconnected_before_the_pong()
    bench.log((1, [ack("d1", "new")]))
    effects = bench.later(1.0)
    assert close_codes(effects) == [1012]
    assert effects[:2] == [MarkAcked(CALL), Delivered(CALL, 1)]


def test_second_session_new_lets_the_first_count() -> None:
    """Jambonz sends one only; two must not leave a batch in the log for ever."""
    bench = attached_call()
    bench.batch(1, ack("d1", "new"))
    bench.hears(session_new("again"))
    assert Delivered(CALL, 1) in bench.batch(2, ack("d2", "again"))
    assert bench.pong() == [MarkAcked(CALL), Delivered(CALL, 2)]


def test_ack_that_was_read_while_the_call_was_being_attached_is_marked_with_the_attachment() -> None:
    """Redis was away, the guard has answered; on the next socket session:reconnect must be acked at once."""
    bench = Bench(policy=PATIENT)
    bench.hears(session_new())
    bench.later(4.0)
    assert MarkAcked(CALL) in bench.pong()
    assert MarkAcked(CALL) in bench.attached()
    assert MarkAcked(CALL) not in bench.attached(is_acked=True, existed=True)


def test_ack_that_was_read_is_not_left_in_the_log_with_commands_of_its_batch() -> None:
    """The gate is shut yet: should the socket die now, the next one would say the application a second time."""
    bench = attached_call(PATIENT)
    bench.batch(1, *ANSWER_AND_COMMAND)
    assert bench.pong() == [COMMAND_IS_LEFT]
    assert Delivered(CALL, 1) in bench.later(GATE_S)


def test_nothing_of_other_batches_is_left_with_those_commands() -> None:
    """They have their own place in a log, of this call or of a leg: found twice they would be sent twice."""
    bench = attached_call(PATIENT)
    bench.hears(status("trying", sid=LEG))
    bench.attached(LEG)
    bench.batch(1, *ANSWER_AND_COMMAND)
    bench.batch(2, command("c2"))
    bench.batch(1, command("leg"), call_sid=LEG)
    assert bench.pong() == [COMMAND_IS_LEFT]


def test_ack_that_was_read_is_not_left_in_the_log_over_the_bounce() -> None:
    """Commands wait for the socket behind the bounce, which finds them in the log."""
    bench = reconnected_before_the_pong()
    assert acks(bench.log((1, ANSWER_AND_COMMAND))) == {"r": APPLICATION}
    assert bench.pong() == [COMMAND_IS_LEFT]
    effects = bench.later(GATE_S)
    assert close_codes(effects) == [1012]
    assert Delivered(CALL, 1) not in effects

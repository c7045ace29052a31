"""Commands wait behind the ack of an inbound session:new: jambonz would lose them (PROTOCOL.md 2.4, pitfall 11)."""

from jambonz_gateway.effects import Delivered
from jambonz_gateway.policy import NEVER, SessionPolicy
from jambonz_shared.directive import Ack, Close
from tests.unit.gateway.sessions import (
    CALL,
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
    hook,
    outcomes,
    running_call,
    session_new,
    status,
)

START = Ack("start", 1, "new", SAY)


def test_command_before_the_first_ack_waits() -> None:
    """Its sender learns that it is queued, and jambonz sees nothing yet."""
    bench = attached_call()
    effects = bench.batch(1, command("c1"))
    assert commands(effects) == []
    assert outcomes(effects) == [("c1", "queued")]


def test_command_behind_the_first_ack_waits_for_jambonz_to_speak() -> None:
    """The first message after the ack shows that jambonz has built what listens for commands."""
    bench = attached_call()
    effects = bench.batch(1, START, command("c1"))
    assert list(acks(effects)) == ["new"]
    assert commands(effects) == []
    bench.pong()
    effects = bench.hears(status("trying"))
    assert commands(effects) == ["hi"]
    assert outcomes(effects) == [("c1", "sent")]


def test_gate_is_not_opened_by_what_may_have_crossed_the_ack() -> None:
    """Until the pong nobody knows whether jambonz had read the ack when it spoke."""
    bench = attached_call()
    bench.batch(1, START, command("c1"))
    assert commands(bench.hears(status("trying"))) == []
    bench.pong()
    assert commands(bench.hears(status("in-progress"))) == ["hi"]


def test_gate_opens_a_quarter_second_behind_the_pong() -> None:
    """A call that says nothing need not wait for as long as a busy feature server may take to read the ack."""
    bench = attached_call(SessionPolicy(gate_s=1.0))
    bench.batch(1, START, command("c1"))
    assert commands(bench.later(0.1) + bench.pong()) == []
    assert bench.session.wake_at_s == bench.now_s + 0.25
    assert commands(bench.later(0.25)) == ["hi"]


def test_gate_opens_by_itself_after_a_quarter_second() -> None:
    """A call without a call_status_hook says nothing at its start (pitfall 38)."""
    bench = attached_call()
    bench.batch(1, START, command("c1"))
    assert bench.session.wake_at_s == bench.now_s + 0.25
    assert commands(bench.later(0.249)) == []
    assert commands(bench.later(0.001)) == ["hi"]
    assert bench.session.wake_at_s == NEVER


def test_gate_is_not_opened_by_what_came_before_the_ack() -> None:
    """A message that crossed the ack on the wire proves nothing."""
    bench = attached_call()
    bench.batch(1, command("c1"))
    assert commands(bench.hears(status("trying"))) == []
    assert commands(bench.later(1.0)) == []


def test_waiting_commands_keep_their_order() -> None:
    """P2: what one handler says first, the caller hears first."""
    bench = attached_call()
    bench.batch(1, START, command("c1", "one"), command("c2", "two"))
    bench.batch(2, command("c3", "three"))
    assert commands(bench.later(0.25)) == ["one", "two", "three"]


def test_command_that_comes_when_the_gate_has_opened_does_not_overtake() -> None:
    """Until the timer has run, the older ones still wait."""
    bench = attached_call()
    bench.batch(1, START, command("c1", "one"))
    bench.now_s += 0.3
    assert commands(bench.batch(2, command("c2", "two"))) == []
    assert commands(bench.session.tick(bench.now_s)) == ["one", "two"]


def test_answer_to_another_hook_does_not_open_the_gate() -> None:
    """P4: as long as session:new is not answered jambonz would lose the command."""
    bench = attached_call()
    bench.hears(hook("m1"))
    bench.batch(1, ack("d1", "m1"), command("c1"))
    assert commands(bench.later(1.0) + bench.pong()) == []


def test_command_that_waits_is_not_written_behind_a_close() -> None:
    """P4: it would be lost, and its sender told that it was sent; the next Connection finds it in the log."""
    bench = attached_call()
    bench.batch(1, START, command("c1"))
    for _ in range(11):
        effects = bench.hears(b"nonsense")
    assert close_codes(effects) == [1008]
    bench.now_s += 1.0
    effects = bench.pong() + bench.hears(status("trying"))
    assert commands(effects) == []
    assert outcomes(effects) == []


def test_ack_does_not_wait_for_the_gate() -> None:
    """P1 knows no gate: hooks of the first verbs may come before the commands have gone."""
    bench = attached_call()
    bench.batch(1, START, command("c1"))
    bench.hears(hook("m1"))
    assert list(acks(bench.batch(2, ack("d1", "m1")))) == ["m1"]


def test_batch_stays_in_the_log_while_a_command_of_it_waits() -> None:
    """If this gateway dies now, the next one must find the command."""
    bench = attached_call()
    effects = bench.batch(1, START, command("c1", "one"), command("c2", "two"))
    assert Delivered(CALL, 1) not in effects
    effects = bench.later(0.25)
    assert effects.count(Delivered(CALL, 1)) == 1
    assert effects[-1] == Delivered(CALL, 1), "only behind its last command"


def test_other_batches_do_not_stay_in_the_log_with_it() -> None:
    """The next Connection would find their acks, and say as a redirect what jambonz has heard."""
    bench = attached_call()
    bench.batch(1, START, command("c1"))
    bench.hears(hook("m1"))
    assert Delivered(CALL, 2) in bench.batch(2, ack("d1", "m1", b""))
    bench.hears(hook("leg-1", sid=LEG))
    bench.attached(LEG)
    assert Delivered(LEG, 1) in bench.batch(1, ack("d2", "leg-1"), call_sid=LEG)


def test_socket_that_drops_leaves_waiting_commands_in_the_log() -> None:
    """P4: the next Connection delivers them."""
    bench = attached_call()
    bench.batch(1, START, command("c1"))
    effects = bench.session.closed(1006)
    assert Delivered(CALL, 1) not in effects
    assert bench.later(1.0) == []


def test_waiting_close_keeps_its_place() -> None:
    """An application that says something and then closes must not close first."""
    bench = attached_call()
    bench.batch(1, START, command("c1"), Close("x1", 1012, WORKER))
    effects = bench.later(0.25)
    assert commands(effects) == ["hi"]
    assert close_codes(effects) == [1012]
    assert outcomes(effects) == [("c1", "sent"), ("x1", "sent")]


def test_outbound_call_has_no_gate() -> None:
    """Jambonz has its session long before an outbound session:new is sent (PROTOCOL.md 2.4)."""
    bench = Bench()
    bench.hears(session_new(direction="outbound"))
    bench.attached()
    assert commands(bench.batch(1, command("c1"))) == ["hi"]


def test_repeated_msgid_of_another_kind_does_not_shut_the_gate() -> None:
    """P4: with nothing owed that could open it, commands would wait for ever."""
    bench = running_call()
    bench.hears(hook("m1"))
    bench.hears(session_new("m1"))
    bench.batch(2, ack("d1", "m1"))
    assert commands(bench.batch(3, command("c1")) + bench.pong()) == ["hi"]

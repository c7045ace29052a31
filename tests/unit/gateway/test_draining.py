"""A gateway that is to leave moves its calls as soon as nothing is owed to them."""

from tests.unit.gateway.sessions import (
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
    message,
    running_call,
    session_new,
    status,
)


def test_idle_call_moves_at_once_when_its_gateway_drains() -> None:
    """P7: 1012 makes jambonz reconnect elsewhere (PROTOCOL.md 1.4)."""
    bench = running_call()
    assert close_codes(bench.session.drain(bench.now_s)) == [1012]
    assert close_codes(bench.session.drain(bench.now_s) + bench.later(1.0)).count(1012) <= 1


def test_hook_in_flight_when_gateway_drains_is_acked_first() -> None:
    """A drop would abandon the hook, and some verbs end the call then (PROTOCOL.md 2.8)."""
    bench = running_call()
    bench.hears(hook("m1"))
    assert close_codes(bench.session.drain(bench.now_s)) == []
    effects = bench.batch(2, ack("d1", "m1"))
    assert list(acks(effects)) == ["m1"]
    assert close_codes(effects) == [1012]


def test_hook_nobody_answers_holds_a_draining_gateway_until_the_deadline() -> None:
    """No longer: the guard answers it, then the call moves."""
    bench = running_call()
    bench.hears(hook("m1"))
    bench.session.drain(bench.now_s)
    effects = bench.later(4.0)
    assert list(acks(effects)) == ["m1"]
    assert close_codes(effects) == [1012]


def test_answer_read_from_the_log_lets_a_draining_socket_go() -> None:
    """Whichever way the last ack comes."""
    bench = running_call()
    bench.hears(hook("m1"))
    bench.session.drain(bench.now_s)
    bench.batch(3, command("c3"))
    assert close_codes(bench.log((2, [ack("d1", "m1")]), (3, [command("c3")]))) == []
    effects = bench.pong()
    assert commands(effects) == ["hi"]
    assert close_codes(effects) == [1012]


def test_waiting_command_holds_a_draining_socket() -> None:
    """It would be delivered by the next gateway too, but later than it could be."""
    bench = attached_call()
    bench.batch(1, ack("d0", "new", SAY), command("c1"))
    assert close_codes(bench.session.drain(bench.now_s)) == []
    effects = bench.later(0.25)
    assert commands(effects) == ["hi"]
    assert close_codes(effects) == [1012]


def test_call_that_is_over_is_not_moved() -> None:
    """Jambonz closes it by itself, or it is reaped."""
    bench = running_call()
    bench.hears(status("completed"))
    assert close_codes(bench.session.drain(bench.now_s)) == []


def test_draining_socket_waits_for_the_ack_of_a_reconnect() -> None:
    """The reconnect is owed as well: dropped now, jambonz would lose one more of its four tries."""
    bench = Bench()
    bench.hears(message("session:reconnect", "r"))
    assert bench.session.owed_count == 1
    assert close_codes(bench.session.drain(bench.now_s)) == []
    effects = bench.attached(epoch=2, owner=WORKER, fence=1, existed=True, is_acked=True)
    assert list(acks(effects)) == ["r"]
    assert close_codes(effects) == [1012]


def test_draining_socket_waits_for_its_first_message() -> None:
    """Its session:new is on the way; dropped before the ack, the call would be deaf (pitfall 10)."""
    bench = Bench()
    assert close_codes(bench.session.drain(bench.now_s)) == []
    assert close_codes(bench.hears(session_new())) == []
    bench.attached()
    bench.owner()
    assert close_codes(bench.batch(1, ack("d1", "new"))) == [], "nobody knows whether jambonz has read it"
    assert close_codes(bench.pong()) == [1012]


def test_draining_socket_whose_first_message_is_owed_nothing_is_closed_behind_it() -> None:
    """An outbound call that is still ringing moves at once."""
    bench = Bench()
    bench.session.drain(bench.now_s)
    assert close_codes(bench.hears(status("trying", top=None))) == [1012]


def test_draining_socket_that_has_not_named_its_call_is_closed_behind_what_it_said() -> None:
    """A redirect verb's socket that has come back says nothing more until its call does (PROTOCOL.md 2.6.1)."""
    bench = Bench()
    bench.hears(message("session:reconnect", "r", sid=None, top=None))
    assert close_codes(bench.session.drain(bench.now_s)) == [1012]


def test_draining_after_the_close_does_nothing() -> None:
    """The process drains all it has, closed or not."""
    bench = running_call()
    bench.session.closed(1006)
    assert bench.session.drain(bench.now_s) == []

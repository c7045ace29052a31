"""How a Connection ends: close codes, the last status, reaping, draining."""

import pytest

from jambonz_gateway.effects import Detach, Forget
from jambonz_gateway.policy import NEVER, SessionPolicy
from tests.unit.gateway.sessions import (
    CALL,
    LEG,
    SAY,
    START_MS,
    WORKER,
    Bench,
    Published,
    ack,
    acks,
    attached_call,
    close_codes,
    command,
    commands,
    counted,
    hook,
    kinds_published,
    message,
    numbers,
    outcomes,
    published,
    running_call,
    session_new,
    status,
    with_leg,
)


@pytest.mark.parametrize("code", [pytest.param(1000, id="normal"), pytest.param(1001, id="unusable_answer")])
def test_close_code_of_the_end_ends_the_call(code: int) -> None:
    """Jambonz' own codes: nothing more comes (PROTOCOL.md 1.3)."""
    bench = running_call()
    assert bench.session.closed(code) == [Detach(CALL, 1)]
    effects = bench.session.detached(CALL, 0, START_MS)
    assert published(effects) == [Published(WORKER, CALL, 1, 3, "")]
    assert kinds_published(effects) == ["cluster:ended"]
    assert effects[-1] == Forget(CALL)
    assert bench.session.is_finished


@pytest.mark.parametrize("code", [1005, 1006, 1009, 1011, 1012])
def test_other_close_codes_leave_the_call_its_grace(code: int) -> None:
    """A drop is not an end: jambonz reconnects (P32). The worker learns that nobody is there for now."""
    bench = running_call()
    assert bench.session.closed(code) == [Detach(CALL, 1)]
    assert kinds_published(bench.session.detached(CALL, 0, START_MS)) == ["cluster:detached"]
    assert bench.session.is_finished


def test_call_with_another_connection_is_not_ended() -> None:
    """The old socket of a redirected call is closed with 1000 while the call goes on elsewhere."""
    bench = running_call()
    bench.session.closed(1000)
    assert published(bench.session.detached(CALL, 1, START_MS)) == []


def test_any_close_after_the_last_status_ends_the_call() -> None:
    """The feature server may die right behind its last word."""
    bench = running_call()
    bench.hears(status("completed"))
    bench.session.closed(1006)
    assert kinds_published(bench.session.detached(CALL, 0, START_MS)) == ["cluster:ended"]


def test_end_is_published_even_if_redis_has_forgotten_the_call() -> None:
    """A worker may still hold it."""
    bench = running_call()
    bench.session.closed(1000)
    assert kinds_published(bench.session.detached(CALL, -1, START_MS)) == ["cluster:ended"]


def test_nobody_is_told_of_a_drop_of_a_call_that_redis_has_forgotten() -> None:
    """Its grace is over already."""
    bench = running_call()
    bench.session.closed(1006)
    assert published(bench.session.detached(CALL, -1, START_MS)) == []


def test_close_before_the_call_is_attached_waits_for_redis() -> None:
    """P3: the events of the short call are still published, and the Connection leaves again."""
    bench = Bench()
    bench.hears(session_new())
    bench.hears(status("no-answer"))
    assert numbers(bench.session.closed(1000)) == []
    assert bench.session.is_finished is False
    effects = bench.attached()
    assert numbers(effects) == [("", 1), ("", 2)]
    assert effects[-1] == Detach(CALL, 1)
    bench.session.detached(CALL, 0, START_MS)
    assert bench.session.is_finished


def test_close_of_an_unowned_call_publishes_all_it_held() -> None:
    """Nobody will call again: every event goes to dispatch, in order."""
    bench = Bench()
    bench.hears(session_new())
    bench.attached()
    bench.hears(status("trying"))
    bench.hears(hook("m1"))
    assert numbers(bench.session.closed(1006)) == [("", 2), ("", 3)]


def test_events_returned_after_the_close_are_published_at_once() -> None:
    """There is no next event that would wake them."""
    bench = running_call()
    envelopes = [e.envelope for m in ("m1", "m2") for e in bench.hears(hook(m)) if hasattr(e, "envelope")]
    bench.session.closed(1006)
    assert numbers(bench.session.returned(WORKER, envelopes[0])) == [("", 3)]
    assert numbers(bench.session.returned(WORKER, envelopes[1])) == [("", 4)]


def test_anonymous_connection_that_closes_is_finished_at_once() -> None:
    """It never had a call."""
    bench = Bench()
    bench.session.closed(1006)
    assert bench.session.is_finished


def test_hooks_that_die_with_their_socket_are_counted() -> None:
    """Nobody can answer them any more; an operator should see how many."""
    bench = running_call()
    bench.hears(hook("m1"))
    bench.hears(hook("m2"))
    effects = bench.session.closed(1006)
    assert counted(effects) == ["hook_died", "hook_died"]
    assert bench.session.wake_at_s == NEVER
    assert bench.later(10.0) == []


def test_nothing_happens_after_the_close() -> None:
    """Bytes may be left in buffers, words of Redis on their way."""
    bench = running_call()
    bench.session.closed(1006)
    assert bench.session.closed(1006) == []
    assert bench.hears(hook("m1")) == []
    assert bench.left() == []
    assert bench.later(10.0) == []


def test_command_after_the_last_status_is_gone() -> None:
    """Jambonz is closing: it would not see it; the sender is told (P4, section 12)."""
    bench = running_call()
    bench.hears(status("completed"))
    effects = bench.batch(2, command("c1"))
    assert commands(effects) == []
    assert outcomes(effects) == [("c1", "gone")]


def test_command_that_waits_when_the_call_ends_is_gone() -> None:
    """A caller who hangs up during the greeting."""
    bench = attached_call()
    bench.batch(1, ack("d0", "new"), command("c1"))
    effects = bench.hears(status("completed"))
    assert outcomes(effects) == [("c1", "sent")], "the status itself shows that jambonz listens"
    bench = attached_call()
    bench.batch(1, command("c1"))
    bench.hears(status("completed"))
    bench.later(4.0)
    assert outcomes(bench.later(0.25)) == [("c1", "gone")]


def test_hook_after_the_last_status_is_still_answered() -> None:
    """P1: jambonz sends hooks behind `completed` and waits for their acks (ADR 0002)."""
    bench = running_call()
    bench.hears(status("completed"))
    bench.hears(hook("m1", "/done"))
    assert list(acks(bench.batch(2, ack("d1", "m1")))) == ["m1"]


def test_socket_is_reaped_after_the_last_status() -> None:
    """Jambonz never closes a socket it opened only to say `completed` (P31)."""
    bench = running_call()
    bench.hears(status("completed"))
    assert bench.session.is_over
    assert bench.session.wake_at_s == bench.now_s + 5.0
    assert close_codes(bench.later(4.9)) == []
    assert close_codes(bench.later(0.1)) == [1000]
    assert bench.session.wake_at_s == NEVER


@pytest.mark.parametrize("call_status", ["completed", "failed", "busy", "no-answer"])
def test_final_statuses(call_status: str) -> None:
    """After each of them the leg is over (PROTOCOL.md 2.10)."""
    bench = running_call()
    bench.hears(status(call_status))
    assert bench.session.is_over


@pytest.mark.parametrize("call_status", ["trying", "ringing", "early-media", "in-progress", "queued"])
def test_other_statuses_end_nothing(call_status: str) -> None:
    """Calls live on."""
    bench = running_call()
    bench.hears(status(call_status))
    assert bench.session.is_over is False


def test_connection_that_never_names_a_call_is_closed() -> None:
    """A socket without a call is nobody's."""
    bench = Bench()
    assert bench.session.wake_at_s == bench.now_s + 10.0
    assert close_codes(bench.later(9.9)) == []
    assert close_codes(bench.later(0.1)) == [1008]


def test_connection_that_has_named_its_call_may_be_silent() -> None:
    """Calls on hold say nothing for an hour."""
    bench = running_call()
    assert bench.session.wake_at_s == NEVER
    assert bench.later(3600.0) == []


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
    effects = bench.log((2, [ack("d1", "m1")]), (3, [command("c3")]))
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


def test_connection_about_a_call_of_another_app_is_closed() -> None:
    """P9: whoever knows a call_sid does not get the call."""
    bench = Bench()
    bench.hears(session_new())
    effects = bench.session.refused(CALL)
    assert close_codes(effects) == [1008]
    assert counted(effects) == ["foreign_call"]
    assert published(effects) == []


def test_legs_end_with_the_socket_of_their_parent() -> None:
    """Close 1000 on the parent's socket: no more word will come about them."""
    bench = with_leg(running_call())
    assert bench.session.closed(1000) == [Detach(CALL, 1), Detach(LEG, 1)]
    assert kinds_published(bench.session.detached(LEG, 0, START_MS)) == ["cluster:ended"]
    assert bench.session.is_finished is False
    bench.session.detached(CALL, 0, START_MS)
    assert bench.session.is_finished


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(b"hello", id="not_json"),
        pytest.param(b"[]", id="no_object"),
        pytest.param(b"{}", id="no_type"),
        pytest.param(b'{"type":"call:status"}', id="no_msgid"),
        pytest.param(message("cluster:ended", "m1"), id="reserved_kind"),
        pytest.param(message("call:status", "m1", sid="a}b"), id="call_sid_that_is_none"),
        pytest.param(b"[" * 100_000, id="deep_nesting"),
    ],
)
def test_connection_that_begins_with_nonsense_is_closed(frame: bytes) -> None:
    """P9: whoever it is, it is not jambonz."""
    effects = Bench().hears(frame)
    assert counted(effects) == ["bad_frame"]
    assert close_codes(effects) == [1008]


def test_nonsense_within_a_call_is_tolerated_for_a_while() -> None:
    """A caller must not lose the call for one odd message; a peer that goes on is shut out."""
    bench = running_call()
    for _ in range(10):
        assert close_codes(bench.hears(b"hello")) == []
    assert close_codes(bench.hears(b"hello")) == [1008]


def test_nonsense_behind_our_close_closes_no_second_time() -> None:
    """A flood of it would fill the log with one line each."""
    bench = Bench()
    first, *later = (bench.hears(b"nonsense") for _ in range(20))
    assert close_codes(first) == [1008]
    assert [(close_codes(effects), counted(effects)) for effects in later] == [([], ["bad_frame"])] * 19


def test_reserved_kind_never_reaches_a_worker() -> None:
    """Only gateways say that a Call has ended (P9)."""
    bench = running_call()
    effects = bench.hears(message("cluster:takeover", "m1"))
    assert published(effects) == []
    assert counted(effects) == ["bad_frame"]


def test_messages_before_a_call_is_named_are_bounded() -> None:
    """Memory for a peer that has not said who it is."""
    bench = Bench(policy=SessionPolicy(identify_s=60.0))
    for number in range(32):
        assert bench.hears(message("verb:status", f"v{number}", sid=None, top=None)) == []
    effects = bench.hears(message("verb:status", "v", sid=None, top=None))
    assert counted(effects) == ["event_dropped"]
    assert close_codes(effects) == [1008]


def test_hook_without_a_call_is_answered_at_its_deadline() -> None:
    """P1 does not ask whose hook it is."""
    bench = Bench()
    bench.hears(message("verb:hook", "m1", sid=None, top=None, hook="/menu"))
    assert list(acks(bench.later(4.0))) == ["m1"]


def test_close_with_1001_by_ourselves_is_not_the_end() -> None:
    """Jambonz reconnects after it, unlike after its own 1001 (PROTOCOL.md 1.3)."""
    bench = running_call()
    bench.session.closed(1001, by_us=True)
    assert kinds_published(bench.session.detached(CALL, 0, START_MS)) == ["cluster:detached"]


def test_close_with_1000_by_ourselves_is_the_end() -> None:
    """Jambonz discards every later message (P3): an application that closes so ends its part."""
    bench = running_call()
    bench.session.closed(1000, by_us=True)
    assert kinds_published(bench.session.detached(CALL, 0, START_MS)) == ["cluster:ended"]


def test_socket_is_not_reaped_while_a_hook_is_owed() -> None:
    """P1: a hook that came late after the last status still has its full time."""
    bench = running_call()
    bench.hears(status("completed"))
    bench.later(3.0)
    bench.hears(hook("m1", "/done"))
    assert close_codes(bench.later(2.0)) == []
    effects = bench.later(2.0)
    assert list(acks(effects)) == ["m1"]
    assert close_codes(effects) == [1000]


def test_draining_socket_waits_for_the_ack_of_a_reconnect() -> None:
    """The reconnect is owed as well: dropped now, jambonz would lose one more of its four tries."""
    bench = Bench()
    bench.hears(message("session:reconnect", "r"))
    assert bench.session.owed_count == 1
    assert close_codes(bench.session.drain(bench.now_s)) == []
    effects = bench.attached(epoch=2, owner=WORKER, fence=1, existed=True, is_acked=True)
    assert list(acks(effects)) == ["r"]
    assert close_codes(effects) == [1012]


def test_reconnect_that_dies_with_its_socket_is_counted() -> None:
    """It was owed an ack like any other hook."""
    bench = Bench()
    bench.hears(message("session:reconnect", "r"))
    assert counted(bench.session.closed(1006)) == ["hook_died"]
    assert acks(bench.attached(epoch=2, existed=True, is_acked=True)) == {}


def test_draining_socket_waits_for_its_first_message() -> None:
    """Its session:new is on the way; dropped before the ack, the call would be deaf (P10)."""
    bench = Bench()
    assert close_codes(bench.session.drain(bench.now_s)) == []
    assert close_codes(bench.hears(session_new())) == []
    bench.attached()
    bench.owner()
    assert close_codes(bench.batch(1, ack("d1", "new"))) == [1012]


def test_draining_socket_whose_first_message_is_owed_nothing_is_closed_behind_it() -> None:
    """An outbound call that is still ringing moves at once."""
    bench = Bench()
    bench.session.drain(bench.now_s)
    assert close_codes(bench.hears(status("trying", top=None))) == [1012]


def test_draining_after_the_close_does_nothing() -> None:
    """The process drains all it has, closed or not."""
    bench = running_call()
    bench.session.closed(1006)
    assert bench.session.drain(bench.now_s) == []


def test_message_after_the_call_was_refused_is_dropped() -> None:
    """The closing handshake takes a round trip; jambonz may speak meanwhile."""
    bench = Bench()
    bench.hears(session_new())
    bench.session.refused(CALL)
    assert counted(bench.hears(hook("m1"))) == ["event_dropped"]
    assert counted(bench.hears(hook("m2", sid=LEG))) == ["event_dropped"]


def test_events_that_came_while_a_leg_left_are_published_before_its_end() -> None:
    """P3: a hook between the last status and Redis' answer is no less an event."""
    bench = running_call()
    bench.hears(status("trying", "s1", sid=LEG))
    bench.attached(LEG)
    bench.hears(status("busy", "s2", sid=LEG))
    bench.hears(hook("m1", sid=LEG))
    effects = bench.session.detached(LEG, 0, START_MS)
    assert [event.msgid for event in published(effects)] == ["m1", ""]


def test_messages_before_a_call_is_named_are_bounded_in_bytes() -> None:
    """32 of the largest would be 32 MiB for one anonymous socket."""
    bench = Bench(policy=SessionPolicy(max_held_bytes=1000))
    frame = message("verb:status", "v", sid=None, top=None, pad="x" * 600)
    assert close_codes(bench.hears(frame)) == []
    assert bench.session.held_bytes >= 600
    assert close_codes(bench.hears(frame)) == [1008]


def test_repeated_msgid_of_another_kind_does_not_shut_the_gate() -> None:
    """P4: with nothing owed that could open it, commands would wait for ever."""
    bench = running_call()
    bench.hears(hook("m1"))
    bench.hears(session_new("m1"))
    bench.batch(2, ack("d1", "m1"))
    assert commands(bench.batch(3, command("c1"))) == ["hi"]


def test_status_that_is_no_text_is_no_final_status() -> None:
    """P9: whatever a peer sends is a message or a bad frame, never an error of ours."""
    bench = running_call()
    bench.hears(message("call:status", "s", call_status=["completed"]))
    assert bench.session.is_over is False

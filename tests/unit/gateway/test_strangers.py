"""Peers that are not jambonz, name no call, or one of another app."""

import pytest

from jambonz_gateway.policy import NEVER, SessionPolicy
from jambonz_shared.directive import Ack
from tests.unit.gateway.sessions import (
    CALL,
    LEG,
    SAY,
    Bench,
    acks,
    close_codes,
    counted,
    hook,
    message,
    published,
    running_call,
    session_new,
    status,
)


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


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(hook("m1", "/menu"), id="hook"),
        pytest.param(status("in-progress"), id="status"),
        pytest.param(message("jambonz:error", "m1", sid=None), id="error"),
    ],
)
def test_socket_of_a_call_that_ended_while_it_opened_is_reaped(frame: bytes) -> None:
    """P8, pitfall 31: jambonz says only what it opened the socket for, without reconnecting, and never closes it."""
    bench = Bench()
    bench.hears(frame)
    bench.attached(epoch=2, is_acked=True, existed=True)
    bench.batch(1, Ack("d1", 2, "m1", SAY))
    assert bench.session.wake_at_s == bench.now_s + 5.0
    assert close_codes(bench.later(4.9)) == []
    assert close_codes(bench.later(0.1)) == [1008], "should we be wrong, jambonz reconnects"


def test_socket_of_an_outbound_call_is_not_reaped_for_its_beginning() -> None:
    """Its statuses come first, and name the call if session:new is asked for while the socket opens."""
    bench = Bench()
    bench.hears(status("ringing"))
    bench.attached()
    assert bench.session.wake_at_s == NEVER
    bench.hears(session_new(direction="outbound"))
    bench.batch(1, Ack("d1", 1, "new", SAY))
    bench.pong()
    bench.attached(is_acked=True, existed=True)
    assert bench.session.wake_at_s == NEVER, "Redis has lost its data and learned of the call again"


def test_socket_that_names_no_call_on_top_is_not_reaped_for_its_beginning() -> None:
    """Moved calls and redirect verbs open sockets for calls that were answered before (PROTOCOL.md 2.1, 2.5)."""
    bench = Bench()
    bench.hears(hook("m1", top=None))
    bench.attached(epoch=2, is_acked=True, existed=True)
    bench.batch(1, Ack("d1", 2, "m1", SAY))
    assert bench.session.wake_at_s == NEVER


def test_connection_about_a_call_of_another_app_is_closed() -> None:
    """P9: whoever knows a call_sid does not get the call."""
    bench = Bench()
    bench.hears(session_new())
    effects = bench.session.refused(CALL)
    assert close_codes(effects) == [1008]
    assert counted(effects) == ["foreign_call"]
    assert published(effects) == []


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


def test_message_after_the_call_was_refused_is_dropped() -> None:
    """The closing handshake takes a round trip; jambonz may speak meanwhile."""
    bench = Bench()
    bench.hears(session_new())
    bench.session.refused(CALL)
    assert counted(bench.hears(hook("m1"))) == ["event_dropped"]
    assert counted(bench.hears(hook("m2", sid=LEG))) == ["event_dropped"]


def test_messages_before_a_call_is_named_are_bounded_in_bytes() -> None:
    """32 of the largest would be 32 MiB for one anonymous socket."""
    bench = Bench(policy=SessionPolicy(max_held_bytes=1000))
    frame = message("verb:status", "v", sid=None, top=None, pad="x" * 600)
    assert close_codes(bench.hears(frame)) == []
    assert bench.session.held_bytes >= 600
    assert close_codes(bench.hears(frame)) == [1008]

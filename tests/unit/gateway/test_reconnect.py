"""A Connection that follows another: acked at once, or with the application it inherited (PROTOCOL.md 2.6)."""

import orjson

from jambonz_gateway.effects import Attach, Delivered, Effect, MarkAcked, Publish
from jambonz_gateway.holding import Pools
from jambonz_gateway.policy import NEVER
from tests.unit.gateway.sessions import (
    CALL,
    LEG,
    SAY,
    WORKER,
    Bench,
    ack,
    acks,
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
    status,
)

APPLICATION = orjson.loads(SAY)


def reconnect(msgid: str = "r") -> bytes:
    """Return the normal form: the data of session:new again (2.6.1)."""
    return message("session:reconnect", msgid, direction="inbound")


def reconnected_call() -> tuple[Bench, list[Effect]]:
    """Return a call that has moved here with everything acked, and what was done about it."""
    bench = Bench()
    effects = bench.hears(reconnect())
    effects += bench.attached(epoch=2, owner=WORKER, fence=1, seq=1, existed=True, is_acked=True)
    return bench, effects


def inheriting_call() -> Bench:
    """Return a call whose first socket dropped before session:new was acked."""
    bench = Bench()
    bench.hears(reconnect())
    assert acks(bench.attached(epoch=2, owner=WORKER, fence=1, existed=True)) == {}
    return bench


def test_reconnect_is_acked_as_soon_as_the_call_is_known() -> None:
    """Without an ack within 5 s jambonz hangs up (pitfall 9); no worker is asked."""
    bench, effects = reconnected_call()
    assert acks(effects) == {"r": []}
    assert bench.session.owed_count == 0
    assert numbers(effects) == [(WORKER, 1)]
    assert bench.session.wake_at_s == NEVER, "its socket stays open"


def test_reconnect_forgets_the_socket_before_it() -> None:
    """The old socket is dead for certain, even if its gateway has not noticed."""
    assert Bench().hears(reconnect()) == [Attach(CALL, "main", is_reconnect=True)]


def test_reconnect_of_an_unknown_call_begins_it() -> None:
    """Redis lost it, or its first gateway died before Redis heard of it: only in the first case is the ack ignored.

    The caller of the second one would be rejected by an empty ack (PROTOCOL.md 2.4), and be deaf without the bounce.
    """
    bench = Bench()
    bench.hears(reconnect())
    effects = bench.attached()
    assert acks(effects) == {}
    [envelope] = [effect.envelope for effect in effects if isinstance(effect, Publish)]
    assert (envelope.kind, envelope.msgid, envelope.is_acked) == ("session:new", "r", False)
    effects = bench.batch(1, ack("d1", "r"))
    assert list(acks(effects)) == ["r"]
    assert MarkAcked(CALL) in bench.pong(), "or the next reconnect would wait for an application"
    assert close_codes(bench.later(0.25)) == [1012]


def test_unknown_call_that_nobody_answers_gets_the_fallback_application() -> None:
    """P1: right whether ``session:new`` was acked before or not."""
    bench = Bench()
    bench.hears(reconnect())
    bench.attached()
    assert acks(bench.later(4.0)) == {"r": [{"verb": "pause", "length": 1}]}


def test_reconnect_without_redis_is_acked_with_the_fallback_application() -> None:
    """P1: ignored by jambonz if session:new was acked, and right if it was not (2.6.3)."""
    bench = Bench()
    bench.hears(reconnect())
    assert bench.session.wake_at_s == bench.now_s + 0.25
    assert acks(bench.later(0.249)) == {}
    effects = bench.later(0.001)
    assert acks(effects) == {"r": [{"verb": "pause", "length": 1}]}
    assert counted(effects) == ["fallback_ack"]


def test_reconnect_that_was_acked_blindly_is_not_acked_again() -> None:
    """Redis answers late: one ack per hook."""
    bench = Bench()
    bench.hears(reconnect())
    bench.later(0.25)
    assert acks(bench.attached(epoch=2, owner=WORKER, fence=1, existed=True, is_acked=True)) == {}
    assert acks(bench.later(10.0)) == {}


def test_commands_of_the_gap_are_delivered() -> None:
    """P4: what was said while no socket was there is in the log."""
    bench, _ = reconnected_call()
    effects = bench.log((1, [command("c1")]))
    assert commands(effects) == ["hi"]
    assert Delivered(CALL, 1) in effects


def test_answer_to_a_hook_that_died_with_its_socket_becomes_a_redirect() -> None:
    """Jambonz discards acks for msgids of the old socket (pitfall 8)."""
    bench, _ = reconnected_call()
    effects = bench.log((1, [ack("d1", "m-old", epoch=1)]))
    assert acks(effects) == {}
    assert commands(effects) == ["hi"]
    assert counted(effects) == ["late_ack"]
    assert outcomes(effects) == [("d1", "sent")]


def test_reconnect_before_session_new_was_acked_waits_for_the_application() -> None:
    """An empty ack would be taken as the application: the caller would hear nothing (pitfall 10)."""
    bench = inheriting_call()
    assert bench.session.owed_count == 1
    effects = bench.batch(1, ack("d1", "new", epoch=1))
    assert acks(effects) == {"r": APPLICATION}
    assert outcomes(effects) == [("d1", "sent")]
    assert bench.pong() == [MarkAcked(CALL), Delivered(CALL, 1)]


def test_inherited_application_may_be_in_the_log_already() -> None:
    """The worker answered while no socket was there."""
    bench = Bench()
    bench.hears(reconnect())
    bench.attached(epoch=2, owner=WORKER, fence=1, seq=1, existed=True)
    effects = bench.log((1, [ack("d1", "new", epoch=1)]))
    assert acks(effects) == {"r": APPLICATION}


def test_call_that_inherited_is_bounced_once_more() -> None:
    """Only another reconnect releases the messages jambonz has queued for ever (2.6.3)."""
    bench = inheriting_call()
    bench.batch(1, ack("d1", "new", epoch=1))
    assert bench.session.wake_at_s == bench.now_s + 0.25
    assert close_codes(bench.later(0.2)) == []
    effects = bench.later(0.05)
    assert close_codes(effects) == [1012]
    assert counted(effects) == ["bounced"]
    assert close_codes(bench.later(5.0)) == []


def test_call_that_speaks_needs_no_bounce() -> None:
    """It is not deaf: the ack had reached it before its socket died. What waits for the bounce waits no longer."""
    bench = inheriting_call()
    bench.batch(1, ack("d1", "new", epoch=1), command("c1"))
    effects = bench.hears(hook("m1"))
    assert commands(effects) == ["hi"]
    assert any(isinstance(effect, MarkAcked) for effect in effects)
    assert Delivered(CALL, 1) in effects
    assert close_codes(bench.later(3.9)) == []


def test_commands_wait_until_the_bounce_is_over() -> None:
    """They would hit a call that cannot answer; the next socket finds them in the log."""
    bench = inheriting_call()
    effects = bench.batch(1, ack("d1", "new", epoch=1), command("c1"))
    effects += bench.later(0.25)
    assert commands(effects) == []
    assert Delivered(CALL, 1) not in effects


def test_inherited_call_nobody_answers_gets_the_fallback_application() -> None:
    """P1 at the same 4 s after the reconnect came, whatever Redis took of them."""
    bench = Bench()
    bench.hears(reconnect())
    bench.later(0.2)
    bench.attached(epoch=2, owner=WORKER, fence=1, existed=True)
    assert acks(bench.later(3.799)) == {}
    assert acks(bench.later(0.001)) == {"r": [{"verb": "pause", "length": 1}]}
    assert close_codes(bench.later(0.25)) == [1012]


def test_answer_later_than_the_inherited_deadline_waits_for_the_next_socket() -> None:
    """The verbs reach the caller after the bounce, as a redirect."""
    bench = inheriting_call()
    bench.later(4.0)
    effects = bench.batch(1, ack("d1", "new", epoch=1))
    assert commands(effects) == []
    assert outcomes(effects) == [("d1", "queued")]
    assert Delivered(CALL, 1) not in effects


def test_reconnect_with_the_msgid_of_a_hook_that_is_owed_leaves_nothing_counted() -> None:
    """P9: what is counted for ever would soon make the gateway answer every hook of every call at once."""
    pools = Pools()
    bench = Bench(pools=pools)
    bench.hears(hook("r", sid=None, top=None))
    bench.hears(reconnect("r"))
    bench.attached(epoch=2, existed=True)
    assert list(acks(bench.later(4.0))) == ["r"]
    assert pools.unanswered.used_bytes == 0


def test_outbound_call_inherits_without_data() -> None:
    """An outbound call goes on waiting for a command after an ack without data (2.4)."""
    bench = Bench()
    bench.hears(message("session:reconnect", "r", direction="outbound"))
    bench.attached(epoch=2, existed=True)
    assert acks(bench.later(4.0)) == {"r": None}


def test_reconnect_of_a_side_socket_is_acked_at_once() -> None:
    """It has no session:new to inherit: nothing has to be asked."""
    bench = Bench()
    assert acks(bench.hears(message("session:reconnect", "r", top=None, parent_call_info={}))) == {"r": []}
    assert bench.session.line == "side"


def test_second_reconnect_on_one_socket_is_acked_at_once() -> None:
    """Jambonz never does it; if it did, an answer within 5 s is still what keeps the call."""
    bench, _ = reconnected_call()
    assert acks(bench.hears(reconnect("r2"))) == {"r2": []}


def test_anonymous_reconnect_is_acked_at_once() -> None:
    """Outbound before the answer, redirect sockets, moved calls: data is {} and no call is named (2.6.1)."""
    bench = Bench()
    effects = bench.hears(message("session:reconnect", "r", sid=None, top=None))
    assert acks(effects) == {"r": []}
    assert published(effects) == []


def test_anonymous_reconnect_is_published_when_the_call_becomes_known() -> None:
    """The next message names the call; the worker sees both, in order."""
    bench = Bench()
    bench.hears(message("session:reconnect", "r", sid=None, top=None))
    effects = bench.hears(status("ringing", top=None))
    assert effects == [Attach(CALL, "main", is_reconnect=True)]
    assert [event.msgid for event in published(bench.attached(epoch=2, owner=WORKER, fence=1, existed=True))] == [
        "r",
        "s",
    ]


def test_reconnect_that_names_only_the_envelope_s_call_is_acked_at_once() -> None:
    """Data {} with a call_sid at the top: session:new was sent on this requestor, long ago or not at all."""
    bench = Bench()
    effects = bench.hears(message("session:reconnect", "r", sid=None))
    assert acks(effects) == {"r": []}
    assert bench.session.primary == CALL


def test_first_message_after_the_gap_may_be_about_a_leg() -> None:
    """A B leg ended while the socket was away: the envelope names the parent (PROTOCOL.md 2.10)."""
    bench = Bench()
    effects = bench.hears(status("completed", sid=LEG))
    assert effects[:2] == [Attach(CALL, "main", is_reconnect=False), Attach(LEG, "leg", is_reconnect=True)]


def test_hook_after_a_reconnect_is_answered_by_its_new_epoch() -> None:
    """Acks go to the Connection that holds the hook."""
    bench, _ = reconnected_call()
    bench.log()
    bench.hears(hook("m1"))
    assert list(acks(bench.batch(2, ack("d1", "m1", epoch=2)))) == ["m1"]


def test_silent_anonymous_reconnect_keeps_its_socket() -> None:
    """A ringing callee says nothing for minutes; each close would cost one of jambonz' four reconnects (pitfall 33)."""
    bench = Bench()
    bench.hears(message("session:reconnect", "r", sid=None, top=None))
    assert close_codes(bench.later(600.0)) == []
    assert close_codes(bench.later(3600.0)) == [1008]


def test_call_acked_blindly_before_its_application_is_bounced_when_redis_is_back() -> None:
    """Jambonz took the fallback as the application and queues its messages for ever (2.6.3): one more reconnect."""
    bench = Bench()
    bench.hears(reconnect())
    bench.later(0.25)
    effects = bench.attached(epoch=2, owner=WORKER, fence=1, existed=True)
    assert MarkAcked(CALL) in effects
    assert bench.session.known(CALL).is_acked
    assert acks(effects) == {}
    assert close_codes(bench.later(0.25)) == [1012]


def test_call_acked_blindly_that_had_its_application_is_not_bounced() -> None:
    """It is not deaf, and has four reconnects in all (pitfall 33). Nor is its reconnect a new call to anybody."""
    bench = Bench()
    bench.hears(reconnect())
    bench.later(0.25)
    effects = bench.attached(epoch=2, owner=WORKER, fence=1, existed=True, is_acked=True)
    assert close_codes(bench.later(5.0)) == []
    assert kinds_published(effects) == ["session:reconnect"]


def test_call_acked_blindly_that_redis_has_lost_does_not_begin_again() -> None:
    """Its worker knows it, and would greet the caller a second time."""
    bench = Bench()
    bench.hears(reconnect())
    bench.later(0.25)
    assert kinds_published(bench.attached(epoch=2)) == ["session:reconnect"]


def test_inherited_deadline_is_kept_beside_other_hooks() -> None:
    """A hook that came between the reconnect and Redis' answer must not hold up the older one."""
    bench = Bench()
    bench.hears(reconnect())
    bench.later(0.2)
    bench.hears(hook("m1"))
    bench.attached(epoch=2, owner=WORKER, fence=1, existed=True)
    assert list(acks(bench.later(3.8))) == ["r"]
    assert list(acks(bench.later(0.2))) == ["m1"]


def test_call_of_an_adulting_socket_is_acked_from_its_attachment_on() -> None:
    """Its first hook is answered here and at once; before the attachment there is nothing in Redis to mark."""
    bench = Bench()
    assert Attach(CALL, "side", is_reconnect=False) in bench.hears(message("session:adulting", "m1", top=None))
    assert bench.session.known(CALL).is_acked


def test_what_follows_the_reconnect_of_an_unknown_call_stays_what_it_is() -> None:
    """Only the reconnect becomes the beginning; a status behind it waits for its turn."""
    bench = Bench()
    bench.hears(reconnect())
    bench.hears(status("in-progress", "s1"))
    effects = [*bench.attached(), *bench.owner()]
    kinds = [effect.envelope.kind for effect in effects if isinstance(effect, Publish)]
    assert kinds == ["session:new", "call:status"]


def test_an_answer_of_the_log_that_its_worker_repeats_is_given_once() -> None:
    """The worker cannot know whether the answer died with its socket, or waited in the log (ADR 0019)."""
    bench, _ = reconnected_call()
    assert commands(bench.log((2, [ack("a", "m1", epoch=1)]))) == ["hi"]
    again = bench.batch(3, ack("a", "m1", epoch=1))
    assert commands(again) == []
    assert counted(again) == ["duplicate_ack"]
    assert Delivered(CALL, 3) in again


def test_a_repeated_answer_that_was_not_in_the_log_becomes_a_redirect() -> None:
    """It was written to the socket before, and died in it (ADR 0019)."""
    bench, _ = reconnected_call()
    bench.log()
    assert commands(bench.batch(2, ack("a", "m1", epoch=1))) == ["hi"]

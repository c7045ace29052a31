"""Every hook is answered once: by a worker, at the deadline by the gateway, and late verbs become a redirect."""

from typing import Any

import orjson
import pytest

from jambonz_gateway.effects import Count, Delivered, MarkAcked, Send
from jambonz_gateway.owed import Fallbacks
from jambonz_gateway.policy import NEVER, SessionPolicy
from jambonz_shared.directive import Ack, Close
from tests.unit.gateway.sessions import (
    CALL,
    SAY,
    Bench,
    ack,
    acks,
    attached_call,
    command,
    commands,
    counted,
    hook,
    message,
    numbers,
    outcomes,
    published,
    running_call,
    sent,
    session_new,
    status,
)


def test_worker_answers_a_hook_and_is_told_so() -> None:
    """The normal case: one ack with the worker's bytes untouched, the batch leaves the log, the sender knows."""
    bench = running_call()
    bench.hears(hook("m1"))
    effects = bench.batch(2, ack("d1", "m1"))
    assert Send(b'{"type":"ack","msgid":"m1","data":' + SAY + b"}") in effects
    assert Delivered(CALL, 2) in effects
    assert outcomes(effects) == [("d1", "sent")]
    assert bench.session.owed_count == 0


def test_ack_without_data_has_no_data_member() -> None:
    """To jambonz an empty list and no data are different answers (PROTOCOL.md 2.3)."""
    bench = running_call()
    bench.hears(hook("m1"))
    assert sent(bench.batch(2, ack("d1", "m1", b""))) == [{"type": "ack", "msgid": "m1"}]


def test_second_ack_of_the_same_hook_is_refused() -> None:
    """A hook is answered once; the sender learns that its late twin was not sent."""
    bench = running_call()
    bench.hears(hook("m1"))
    bench.batch(2, ack("d1", "m1"))
    effects = bench.batch(3, ack("d2", "m1"))
    assert sent(effects) == []
    assert outcomes(effects) == [("d2", "refused")]
    assert counted(effects) == ["duplicate_ack"]
    assert Delivered(CALL, 3) in effects


def test_ack_of_an_unknown_hook_is_refused() -> None:
    """A stray ack would clear jambonz's marker of the unanswered session:new (pitfall 15), so it is not sent."""
    bench = running_call()
    effects = bench.batch(2, ack("d1", "never-heard-of"))
    assert sent(effects) == []
    assert outcomes(effects) == [("d1", "refused")]


def test_sender_that_does_not_care_is_not_told() -> None:
    """Most acks come from workers that do not wait for an outcome: no message for nobody."""
    bench = running_call()
    bench.hears(hook("m1"))
    assert outcomes(bench.batch(2, Ack("d1", 1, "m1", SAY))) == []


def test_hook_repeated_while_it_is_owed_is_answered_once() -> None:
    """Whatever makes a peer repeat a msgid, it gets one ack for it."""
    bench = running_call()
    bench.hears(hook("m1"))
    bench.hears(hook("m1"))
    assert bench.session.owed_count == 1
    assert list(acks(bench.batch(2, ack("d1", "m1"), ack("d2", "m1")))) == ["m1"]


def test_hook_is_not_answered_a_moment_before_its_deadline() -> None:
    """A worker may use all of its time; the fallback is for nobody else's convenience."""
    bench = running_call()
    bench.hears(hook("m1"))
    assert bench.session.wake_at_s == bench.now_s + 4.0
    assert bench.later(3.999) == []


def test_hook_nobody_answers_is_acked_at_its_deadline() -> None:
    """P1: jambonz gives up after 5 s, and some verbs end the call then (PROTOCOL.md 2.8, pitfall 7)."""
    bench = running_call()
    bench.hears(hook("m1"))
    effects = bench.later(4.0)
    assert acks(effects) == {"m1": None}
    assert counted(effects) == ["fallback_ack"]
    assert Count("fallback_ack", "verb:hook", "/menu") in effects, "what the log tells of a handler that hangs"
    assert bench.session.owed_count == 0
    assert bench.session.wake_at_s == NEVER


def test_each_hook_has_its_own_deadline() -> None:
    """Hooks overlap (a dtmfHook during an actionHook): each is answered at its own time."""
    bench = running_call()
    bench.hears(hook("m1"))
    bench.later(1.0)
    bench.hears(hook("m2"))
    assert list(acks(bench.later(3.0))) == ["m1"]
    assert list(acks(bench.later(1.0))) == ["m2"]


def test_deadline_can_be_set_shorter() -> None:
    """Operators trade the workers' time for safety."""
    bench = running_call(SessionPolicy(ack_deadline_s=1.5))
    bench.hears(hook("m1"))
    assert acks(bench.later(1.4)) == {}
    assert list(acks(bench.later(0.1))) == ["m1"]


def test_late_answer_becomes_a_redirect() -> None:
    """Jambonz drops a late ack (pitfall 7); as a command its verbs still reach the caller."""
    bench = running_call()
    bench.hears(hook("m1"))
    bench.later(4.0)
    effects = bench.batch(2, ack("d1", "m1"))
    assert sent(effects) == [
        {
            "type": "command",
            "command": "redirect",
            "callSid": CALL,
            "queueCommand": False,
            "data": orjson.loads(SAY),
        }
    ]
    assert counted(effects) == ["late_ack"]
    assert outcomes(effects) == [("d1", "sent")]


def test_late_answer_is_redirected_once() -> None:
    """The caller must not hear the same late verbs twice."""
    bench = running_call()
    bench.hears(hook("m1"))
    bench.later(4.0)
    bench.batch(2, ack("d1", "m1"))
    effects = bench.batch(3, ack("d2", "m1"))
    assert sent(effects) == []
    assert outcomes(effects) == [("d2", "refused")]


@pytest.mark.parametrize("data", [pytest.param(b"", id="no_data"), pytest.param(b"[]", id="empty_list")])
def test_late_empty_answer_is_dropped(data: bytes) -> None:
    """A redirect to nothing would kill the running verb, which no ack would have done (PROTOCOL.md 3.3)."""
    bench = running_call()
    bench.hears(hook("m1"))
    bench.later(4.0)
    effects = bench.batch(2, ack("d1", "m1", data))
    assert sent(effects) == []
    assert outcomes(effects) == [("d1", "refused")]


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(message("dial:confirm", "m1", hook="/confirm"), id="dial_confirm"),
        pytest.param(hook("m1", "/wait", queue_position=1), id="wait_hook"),
    ],
)
def test_late_answer_that_makes_no_sense_as_a_command_is_dropped(frame: bytes) -> None:
    """Commands do not reach a confirm session or a wait loop (PROTOCOL.md 2.9, 3.3): they would hit the A leg."""
    bench = running_call()
    bench.hears(frame)
    bench.later(4.0)
    effects = bench.batch(2, ack("d1", "m1", may_redirect=False))
    assert sent(effects) == []
    assert outcomes(effects) == [("d1", "refused")]


@pytest.mark.parametrize(
    ("frame", "data"),
    [
        pytest.param(message("session:redirect", "m", hook="/next"), None, id="session_redirect"),
        pytest.param(hook("m"), None, id="verb_hook"),
        pytest.param(message("dial:confirm", "m", hook="/confirm"), [{"verb": "hangup"}], id="dial_confirm"),
        pytest.param(hook("m", queue_position=0), [{"verb": "pause", "length": 2}], id="wait_hook_of_a_queue"),
    ],
)
def test_fallback_fits_the_kind_of_hook(frame: bytes, data: Any) -> None:
    """What is harmless for one hook ends the call or the music for another (PROTOCOL.md 12, pitfalls 17 and 41)."""
    bench = running_call()
    bench.hears(frame)
    assert acks(bench.later(4.0)) == {"m": data}


def test_inbound_call_nobody_answers_gets_the_fallback_application() -> None:
    """An empty answer to an inbound session:new is a 480 for the caller (PROTOCOL.md 2.4)."""
    bench = attached_call()
    assert acks(bench.later(4.0)) == {"new": [{"verb": "pause", "length": 1}]}
    assert bench.pong() == [MarkAcked(CALL)]


def test_call_without_facts_gets_the_fallback_application_too() -> None:
    """P9: the guard must not stumble over a body that jambonz never sends."""
    bench = Bench()
    bench.hears(b'{"type":"session:new","msgid":"new","call_sid":"call-a","data":[]}')
    assert acks(bench.later(4.0)) == {"new": [{"verb": "pause", "length": 1}]}


def test_outbound_call_nobody_answers_waits_for_a_command() -> None:
    """Without data rest:dial goes on waiting, and the late verbs can still come (PROTOCOL.md 2.4)."""
    bench = Bench()
    bench.hears(session_new(direction="outbound"))
    bench.attached()
    assert acks(bench.later(4.0)) == {"new": None}


def test_application_says_what_is_played_when_nobody_answers() -> None:
    """An app knows better than we what a caller should hear: for the start of a call and for each hook."""
    fallbacks = Fallbacks(b'[{"verb":"say","text":"later"}]', {"/menu": b'[{"verb":"say","text":"again"}]'})
    bench = attached_call(fallbacks=fallbacks)
    assert acks(bench.later(4.0)) == {"new": [{"verb": "say", "text": "later"}]}
    bench.hears(hook("m1"))
    bench.hears(hook("m2", "/other"))
    assert acks(bench.later(4.0)) == {"m1": [{"verb": "say", "text": "again"}], "m2": None}


def test_new_manifest_changes_the_fallbacks_of_calls_that_run() -> None:
    """A deploy of workers changes what is said; calls are long."""
    bench = running_call()
    bench.session.fallbacks = Fallbacks(hooks={"/menu": b"[1]"})
    bench.hears(hook("m1"))
    assert acks(bench.later(4.0)) == {"m1": [1]}


def test_adulting_is_answered_at_once() -> None:
    """Its answer carries nothing (PROTOCOL.md 2.7); a worker would only cost time."""
    bench = Bench()
    effects = bench.hears(message("session:adulting", "m1", top=None))
    assert acks(effects) == {"m1": []}
    assert bench.session.owed_count == 0


@pytest.mark.parametrize("frame", [message("session:adulting", "m", top=None), message("session:reconnect", "m")])
def test_event_acked_by_the_gateway_tells_the_worker(frame: bytes) -> None:
    """A worker must know that its verbs for it cannot be the ack."""
    bench = Bench()
    bench.hears(frame)
    effects = bench.attached(existed=True, is_acked=True)
    envelopes = [effect.envelope for effect in effects if hasattr(effect, "envelope")]
    assert [envelope.is_acked for envelope in envelopes] == [True]
    assert published(bench.attached(existed=True, is_acked=True)) == [], "nobody waits for it"


def test_notice_is_never_answered() -> None:
    """A stray ack clears jambonz's marker of the unanswered session:new (pitfall 15)."""
    bench = running_call()
    effects = bench.hears(message("verb:status", "m1", sid=None, event="finished"))
    assert sent(effects) == []
    assert bench.session.owed_count == 0
    assert bench.session.wake_at_s == NEVER


def test_unknown_type_is_a_notice_and_is_forwarded() -> None:
    """Jambonz 10 and 11 send types 0.9.8 does not know; a new one must not break a call (PROTOCOL.md 2.12)."""
    bench = running_call()
    effects = bench.hears(message("agent:something-new", "m1"))
    assert [worker for worker, _ in numbers(effects)] == ["worker-1"]
    assert bench.session.owed_count == 0


def test_answers_of_one_batch_keep_their_order() -> None:
    """One commit's ack and commands reach jambonz as the handler issued them."""
    bench = running_call()
    bench.hears(hook("m1"))
    effects = bench.batch(2, command("c1", "one"), ack("d1", "m1"), command("c2", "two")) + bench.pong()
    assert [frame["type"] for frame in sent(effects)] == ["command", "ack", "command"]
    assert commands(effects) == ["one", "two"]


def test_hook_with_a_broken_body_is_acked_at_its_deadline() -> None:
    """Only heads are read when a hook comes: what is behind may be anything, and must not stop the clock."""
    bench = running_call()
    bench.hears(b'{"type":"verb:hook","msgid":"m1","call_sid":"call-a","hook":"/menu","data":{"call_sid":"call-a",oops')
    bench.hears(hook("m2"))
    assert acks(bench.later(4.0)) == {"m1": None, "m2": None}


def test_ack_over_the_limit_is_refused_and_the_hook_is_still_owed() -> None:
    """P10: jambonz would close the socket; the worker learns why and may shorten it before the guard answers."""
    bench = running_call()
    bench.hears(hook("m1"))
    effects = bench.batch(2, ack("d1", "m1", b'[{"verb":"say","text":"' + b"x" * 24_000 + b'"}]'))
    assert sent(effects) == []
    assert outcomes(effects) == [("d1", "refused")]
    assert counted(effects) == ["command_refused"]
    assert list(acks(bench.batch(3, ack("d2", "m1")))) == ["m1"]


def test_fallback_is_found_however_the_hook_is_written() -> None:
    """A hook may carry a query, a host or an id; the app declared a path (PROTOCOL.md 1.6, pitfall 47)."""
    bench = running_call(fallbacks=Fallbacks.of({"/menu": b"[1]", "/h/{nonce}/done": b"[2]"}))
    for number, path in enumerate(("/menu?x=1", "menu", "ws://host/menu/", "/h/n-17/done", "/h//done", "/menu/more")):
        bench.hears(hook(f"m{number}", path))
    assert list(acks(bench.later(4.0)).values()) == [[1], [1], [1], [2], None, None]


def test_oldest_hook_is_answered_at_once_while_too_much_is_unanswered() -> None:
    """P1 holds for each, and a flood of long hooks is kept neither here nor in Redis; one of them is yet."""
    bench = running_call(SessionPolicy(max_held_bytes=1000))
    assert acks(bench.hears(hook("m1", pad="x" * 600))) == {}
    assert acks(bench.hears(hook("m2", pad="x" * 600))) == {}
    effects = bench.hears(status("in-progress"))
    assert acks(effects) == {"m1": None}
    assert counted(effects) == ["fallback_ack"]
    assert outcomes(bench.batch(2, ack("late", "m1"))) == [("late", "sent")], "as a redirect"
    assert acks(bench.batch(3, ack("in-time", "m2"))) == {"m2": [{"verb": "say", "text": "hi"}]}


def test_closing_socket_answers_no_hook_before_its_time() -> None:
    """Nothing that is written reaches jambonz any more."""
    bench = running_call(SessionPolicy(max_held_bytes=1000))
    bench.hears(hook("m1", pad="x" * 600))
    bench.batch(2, Close("bye", 1000))
    bench.hears(hook("m2", pad="x" * 600))
    assert sent(bench.hears(status("in-progress"))) == []

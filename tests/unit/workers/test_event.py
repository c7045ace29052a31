"""Events, facts and effects: what comes out of an envelope, and what goes back."""

from typing import Any

import orjson
import pytest

from jambonz_shared.directive import Ack, Command
from jambonz_shared.envelope import Envelope
from jambonz_shared.errors import BadFrame, MessageTooBig
from jambonz_workers.effects import HOLD, answer, bare_ack, is_inbound_start
from jambonz_workers.event import Event
from jambonz_workers.facts import BEGUN, decode_facts, encode_facts, facts_after, status_of
from jambonz_workers.incoming import event_of
from jambonz_workers.verbs import Verbs
from tests.unit.workers.recordings import jambonz_frames


def envelope(body: bytes, kind: str = "verb:hook", *, is_acked: bool = False) -> Envelope:
    return Envelope("c1", 2, 7, kind, "m1", 1234, "g1", is_acked, body)


def test_an_event_is_what_jambonz_sent() -> None:
    """Keys and values untouched."""
    event = event_of(envelope(b'{"type":"verb:hook","hook":"/menu","data":{"digits":"2"}}'))
    assert event == Event("verb:hook", "c1", {"digits": "2"}, "/menu", "m1", {}, 2, 7, 1234, is_hook=True)


def test_half_an_emoji_is_no_reason_to_lose_an_event() -> None:
    """A model streams its text in pieces; where it cuts is nobody's choice."""
    assert event_of(envelope(rb'{"data":{"call_sid":"c1","speech":"ok \ud83d"}}')).data["speech"] == "ok \ufffd"


@pytest.mark.parametrize(
    ("kind", "is_acked", "is_hook"),
    [("verb:hook", False, True), ("session:reconnect", True, False), ("call:status", False, False)],
)
def test_a_hook_is_what_the_handler_must_answer(kind: str, is_acked: bool, is_hook: bool) -> None:
    """What the gateway has acked is none."""
    assert event_of(envelope(b"{}", kind, is_acked=is_acked)).is_hook is is_hook


@pytest.mark.parametrize("body", [b'{"data":null,"hook":7}', b'{"data":[1]}', b"{}"])
def test_members_of_another_type_count_as_missing(body: bytes) -> None:
    """No jambonz sends such; an application must not trip over it (P9)."""
    event = event_of(envelope(body))
    assert (event.data, event.hook) == ({}, "")


@pytest.mark.parametrize(
    ("body", "text"),
    [(b"{", "got 1 bytes"), (b"[]", "a JSON list"), (b"\xff", "got 1 bytes")],
    ids=["broken", "list", "no_utf8"],
)
def test_what_is_no_object_is_refused(body: bytes, text: str) -> None:
    """The text has no caller data."""
    with pytest.raises(BadFrame, match=text):
        event_of(envelope(body))


def test_every_recorded_message_becomes_an_event_with_its_data() -> None:
    """Through the envelope and back, for all that the real client ever sent."""
    count = 0
    for frame in jambonz_frames():
        sent = Envelope("c1", 1, 1, frame["type"], frame["msgid"], 0, "g", is_acked=False, body=orjson.dumps(frame))
        event = event_of(Envelope.decode(sent.encode()))
        assert (event.kind, event.data, event.hook) == (frame["type"], frame["data"], frame.get("hook", ""))
        count += 1
    assert count > 100


NEW: dict[str, Any] = {
    "call_sid": "c1",
    "from": "+1",
    "to": "+2",
    "direction": "inbound",
    "env_vars": {"A": 1},
    "sip": {"raw": "INVITE"},
}


def test_facts_are_taken_from_the_first_message() -> None:
    """Without the SIP message, which is large."""
    facts = facts_after({}, Event("session:new", "c1", NEW))
    assert facts == {"from": "+1", "to": "+2", "direction": "inbound", "env_vars": {"A": 1}, BEGUN: 0}
    assert decode_facts(encode_facts(facts)) == facts
    assert decode_facts(b"") == {}
    assert decode_facts(b"[]") == {}


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        pytest.param(Event("session:new", "c1", NEW), None, id="nothing_new"),
        pytest.param(Event("verb:hook", "c1", {**NEW, "from": "+9"}), None, id="poorer_kind"),
        pytest.param(Event("session:new", "c1", {**NEW, "call_sid": "child"}), None, id="another_leg"),
    ],
)
def test_facts_stay_when_nothing_better_is_known(event: Event, expected: object) -> None:
    """Every change costs a write."""
    facts = {"from": "+1", "to": "+2", "direction": "inbound", "env_vars": {"A": 1}, BEGUN: 0}
    assert facts_after(facts, event) == expected


def test_session_new_completes_what_a_status_told() -> None:
    """Outbound calls begin with call:status (PROTOCOL.md 2.10)."""
    first = facts_after({}, Event("call:status", "c1", {"call_sid": "c1", "from": "+1"}))
    assert first == {"from": "+1"}
    expected = {"from": "+1", "to": "+2", "direction": "inbound", "env_vars": {"A": 1}, BEGUN: 0}
    assert facts_after(first, Event("session:new", "c1", NEW)) == expected


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param({"call_sid": "c1", "call_status": "in-progress"}, "in-progress", id="own"),
        pytest.param({"call_sid": "child", "call_status": "completed"}, "", id="another_leg"),
        pytest.param({"call_sid": "c1", "call_status": 3}, "", id="no_text"),
        pytest.param({}, "", id="none"),
    ],
)
def test_the_status_is_that_of_the_call_itself(data: dict[str, Any], status: str) -> None:
    """Messages of a B leg come over the same socket."""
    assert status_of(Event("call:status", "c1", data)) == status


def ids() -> Any:
    numbers = iter(range(1, 100))
    return lambda: str(next(numbers))


HOOK = Event("verb:hook", "c1", {}, "/menu", "m1", epoch=2, is_hook=True)
WAITING = Event("verb:hook", "c1", {"queue_position": 0}, "/wait", "m1", is_hook=True)
SAY = [{"verb": "say", "text": "Hi"}]


def test_verbs_are_acked_and_may_still_be_played_late() -> None:
    """A worker that is slower than the deadline loses nothing."""
    assert answer(HOOK, SAY, "redirect", ids(), "w1") == [Ack("1", 2, "m1", b'[{"verb":"say","text":"Hi"}]')]


@pytest.mark.parametrize(
    ("event", "verbs", "late"),
    [
        pytest.param(HOOK, SAY, "drop", id="route_says_drop"),
        pytest.param(HOOK, None, "redirect", id="nothing_to_play"),
        pytest.param(Event("dial:confirm", "c1", {}, "/c", "m1", is_hook=True), SAY, "redirect", id="confirm"),
        pytest.param(WAITING, SAY, "redirect", id="in_a_queue"),
        pytest.param(
            Event("verb:hook", "c1", {"hold_detail": {}}, "/h", "m1", is_hook=True), SAY, "redirect", id="on_hold"
        ),
    ],
)
def test_some_answers_are_worthless_when_late(event: Event, verbs: Verbs | None, late: Any) -> None:
    """An empty redirect would even stop what runs; a confirm's verbs are for the callee, a queue's for those in it."""
    (ack,) = answer(event, verbs, late, ids(), "w1")
    assert isinstance(ack, Ack)
    assert not ack.may_redirect


def test_an_answer_that_is_too_long_goes_on_in_appends() -> None:
    """What fits in the ack, the rest appended in order (P10)."""
    verbs = [{"verb": "say", "text": f"{i}" + "x" * 10_000} for i in range(5)]
    ack, *rest = answer(HOOK, verbs, "redirect", ids(), "w1")
    assert isinstance(ack, Ack)
    frames = [orjson.loads(it.frame) for it in rest if isinstance(it, Command) and it.reply_to == "w1"]
    assert [frame["queueCommand"] for frame in frames] == [True, True]
    assert orjson.loads(ack.data) + [verb for frame in frames for verb in frame["data"]] == verbs


def test_a_leg_has_nothing_but_its_ack() -> None:
    """jambonz would take a redirect for one of the parent's: a leg that declines late would hang up the caller."""
    (ack,) = answer(HOOK, SAY, "redirect", ids(), "w1", has_own_socket=False)
    assert isinstance(ack, Ack)
    assert not ack.may_redirect


@pytest.mark.parametrize(("event", "has_own_socket"), [(HOOK, False), (WAITING, True)], ids=["leg", "in_a_queue"])
def test_an_answer_that_is_too_long_is_refused_where_nothing_can_be_appended(
    event: Event, *, has_own_socket: bool
) -> None:
    """What does not fit would be appended to the parent's verbs, or played when the queue has been left (P10)."""
    verbs = [{"verb": "say", "text": "x" * 10_000} for _ in range(5)]
    with pytest.raises(MessageTooBig, match="answer to /"):
        answer(event, verbs, "redirect", ids(), "w1", has_own_socket=has_own_socket)


def test_an_inbound_call_is_held_when_its_session_returns_nothing() -> None:
    """It refuses an empty application (PROTOCOL.md 2.4)."""
    start = Event("session:new", "c1", {"direction": "inbound"}, msgid="m1", is_hook=True)
    assert is_inbound_start(start)
    (ack,) = answer(start, None, "redirect", ids(), "w1")
    assert isinstance(ack, Ack)
    assert orjson.loads(ack.data) == list(HOLD)
    outbound = Event("session:new", "c1", {"direction": "outbound"}, msgid="m1", is_hook=True)
    (ack,) = answer(outbound, None, "redirect", ids(), "w1")
    assert isinstance(ack, Ack)
    assert ack.data == b"[]"


def test_no_answer_to_a_redirect_is_an_ack_without_data() -> None:
    """An empty list ends the call if it waits for commands; one that the application writes is sent."""
    asked = Event("session:redirect", "c1", {}, "/next", "m1", is_hook=True)
    assert answer(asked, None, "redirect", ids(), "w1") == [Ack("1", 0, "m1", b"", may_redirect=False)]
    assert bare_ack(asked, (), ids()) == Ack("1", 0, "m1", b"", may_redirect=False)
    assert answer(asked, [], "redirect", ids(), "w1") == [Ack("1", 0, "m1", b"[]", may_redirect=False)]


def test_a_bare_ack_is_never_played_late() -> None:
    """Nobody wrote it."""
    assert bare_ack(HOOK, (), ids()) == Ack("1", 2, "m1", b"[]", may_redirect=False)

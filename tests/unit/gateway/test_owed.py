"""The acks one Connection owes: ordered by deadline, each lapses once, late ones are remembered for a while."""

from jambonz_gateway.owed import Fallbacks, OwedAck, OwedAcks, fallback_data
from jambonz_shared.kinds import CALL_STATUS, SESSION_ADULTING, VERB_HOOK
from tests.unit.gateway.sessions import CALL, hook


def owed(msgid: str, deadline_s: float) -> OwedAck:
    return OwedAck(msgid, CALL, VERB_HOOK, deadline_s, hook(msgid))


def test_due_acks_come_in_the_order_of_their_deadlines() -> None:
    """An inherited session:new has an earlier deadline than what came before it was known."""
    acks = OwedAcks()
    for ack in (owed("m1", 5.0), owed("m2", 6.0), owed("m0", 4.0)):
        acks.add(ack)
    assert acks.next_deadline_s == 4.0
    assert [ack.msgid for ack in acks.due(5.0)] == ["m0", "m1"]
    assert len(acks) == 1


def test_late_answer_is_recognised_once() -> None:
    """Its verbs become one redirect, not two."""
    acks = OwedAcks()
    acks.add(owed("m1", 4.0))
    assert [ack.msgid for ack in acks.due(4.0)] == ["m1"]
    assert acks.was_late("m1")
    assert not acks.was_late("m1")


def test_only_the_newest_lapses_are_remembered() -> None:
    """A dead application lapses hook after hook; memory for late answers is bounded."""
    acks = OwedAcks()
    for number in range(70):
        acks.add(owed(f"m{number}", 4.0))
    assert len(list(acks.due(4.0))) == 70
    assert not acks.was_late("m5")
    assert acks.was_late("m6")


def test_kind_that_is_owed_nothing_would_get_no_data() -> None:
    """Nobody asks for it; if somebody did, no data is what harms least."""
    assert fallback_data(OwedAck("m1", CALL, CALL_STATUS, 4.0, b"{}"), Fallbacks()) == b""


def test_kind_that_is_acked_at_once_would_get_the_same_later() -> None:
    """An ack is not owed for it; one that was would have to say what the ack at once says."""
    assert fallback_data(OwedAck("m1", CALL, SESSION_ADULTING, 4.0, b"{}"), Fallbacks()) == b"[]"

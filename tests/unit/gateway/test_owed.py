"""The acks one Connection owes: ordered by deadline, each lapses once, late ones are remembered for a while."""

from jambonz_gateway.holding import Pool, Stock
from jambonz_gateway.owed import Fallbacks, OwedAck, OwedAcks, fallback_data
from jambonz_shared.kinds import CALL_STATUS, SESSION_ADULTING, VERB_HOOK
from tests.unit.gateway.sessions import CALL, SAY, hook


def stock(limit_bytes: int = 1 << 20) -> Stock:
    return Stock(Pool(limit_bytes, 1), limit_bytes)


def owed(msgid: str, deadline_s: float) -> OwedAck:
    return OwedAck(msgid, CALL, VERB_HOOK, deadline_s, hook(msgid))


def test_due_acks_come_in_the_order_of_their_deadlines() -> None:
    """An inherited session:new has an earlier deadline than what came before it was known."""
    acks = OwedAcks(stock())
    for ack in (owed("m1", 5.0), owed("m2", 6.0), owed("m0", 4.0)):
        acks.add(ack)
    assert acks.next_deadline_s == 4.0
    assert [ack.msgid for ack in acks.due(5.0)] == ["m0", "m1"]
    assert len(acks) == 1


def test_late_answer_is_recognised_once() -> None:
    """Its verbs become one redirect, not two."""
    acks = OwedAcks(stock())
    acks.add(owed("m1", 4.0))
    assert [ack.msgid for ack in acks.due(4.0)] == ["m1"]
    assert acks.was_late("m1")
    assert not acks.was_late("m1")


def test_only_the_newest_lapses_are_remembered() -> None:
    """A dead application lapses hook after hook; memory for late answers is bounded."""
    acks = OwedAcks(stock())
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


def test_oldest_is_due_while_too_much_is_unanswered() -> None:
    """What a flood of long hooks leaves unanswered is kept in this process, in Redis and in a worker."""
    kept = stock(2 * len(hook("m1")))
    acks = OwedAcks(kept)
    for number in range(4):
        acks.add(owed(f"m{number}", 4.0))
    assert acks.is_over
    assert [ack.msgid for ack in acks.due(0.0)] == ["m0", "m1"]
    assert acks.was_late("m0")
    assert kept.used_bytes == 2 * len(hook("m1"))


def test_answered_and_dead_hooks_are_kept_no_longer() -> None:
    """Neither an answer, nor a deadline, nor the end of the socket leaves a byte counted."""
    kept = stock()
    acks = OwedAcks(kept)
    for number, deadline_s in enumerate((4.0, 5.0, 6.0, 6.0)):
        acks.add(owed(f"m{number}", deadline_s))
    acks.settle("m1")
    acks.settle("m1")
    assert [ack.msgid for ack in acks.due(4.0)] == ["m0"]
    assert kept.used_bytes == 2 * len(hook("m1"))
    assert acks.clear() == 2
    assert kept.used_bytes == 0


def test_app_without_start_verbs_has_those_of_all() -> None:
    """An inbound caller is rejected by an empty application (PROTOCOL.md 2.4)."""
    assert Fallbacks.of({}).start_verbs == Fallbacks().start_verbs
    assert Fallbacks.of({}, SAY).start_verbs == SAY


def test_fallback_of_a_whole_url_is_found_behind_the_apps_name() -> None:
    """A transfer may name the URL as jambonz calls it; a relative hook means what the verb says (PROTOCOL.md 1.6)."""
    fallbacks = Fallbacks.of({"/start": b"[1]", "/start/{step}": b"[2]"}, app="sales")
    assert fallbacks.of_hook("wss://host/sales/start?call_sid=c1") == b"[1]"
    assert fallbacks.of_hook("wss://host/sales/start/2") == b"[2]"
    assert fallbacks.of_hook("wss://host/start") == b"[1]"
    assert fallbacks.of_hook("/sales/start") is None
    assert fallbacks.of_hook("wss://host/shop/start") is None

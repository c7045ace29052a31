"""Events on their way: held until the Call is attached and owned, in order, numbered without holes."""

from jambonz_gateway.effects import Attach, Publish
from jambonz_gateway.holding import Pools
from jambonz_gateway.policy import SessionPolicy
from jambonz_gateway.route import HELD_MAX
from jambonz_shared.envelope import Envelope
from tests.unit.gateway.sessions import (
    CALL,
    GATEWAY,
    LEG,
    START_MS,
    WORKER,
    Bench,
    Published,
    ack,
    acks,
    attached_call,
    counted,
    hook,
    message,
    numbers,
    published,
    running_call,
    session_new,
    status,
)


def test_first_message_attaches_the_call() -> None:
    """Subscribing and attaching come before any event can be published, so no answer can be missed."""
    bench = Bench()
    assert bench.hears(session_new()) == [Attach(CALL, "main", is_reconnect=False)]
    assert bench.session.primary == CALL
    assert bench.session.line == "main"


def test_event_keeps_the_bytes_of_jambonz() -> None:
    """The gateway never re-encodes a message: workers see what was sent."""
    bench = Bench()
    frame = session_new()
    bench.hears(frame)
    envelope = Envelope(CALL, 1, 1, "session:new", "new", START_MS, GATEWAY, False, frame)
    assert bench.attached() == [Publish("", envelope)]


def test_unowned_call_offers_one_event_and_holds_the_rest() -> None:
    """Whoever takes the first event owns the Call; the others would be taken by somebody else."""
    bench = Bench()
    bench.hears(session_new())
    bench.hears(status("trying"))
    assert numbers(bench.attached()) == [("", 1)]
    assert numbers(bench.hears(status("in-progress"))) == []
    assert bench.session.held_bytes > 0


def test_held_events_follow_to_the_owner_in_order() -> None:
    """P2, and numbers without holes: the owner's mailbox waits for a missing one."""
    bench = Bench()
    bench.hears(session_new())
    bench.attached()
    bench.hears(status("trying"))
    bench.hears(hook("m1"))
    assert numbers(bench.owner()) == [(WORKER, 2), (WORKER, 3)]
    assert bench.session.held_bytes == 0
    assert numbers(bench.hears(hook("m2"))) == [(WORKER, 4)]


def test_call_with_an_owner_publishes_to_it_at_once() -> None:
    """After a reconnect the owner is known from Redis: nothing goes the long way."""
    bench = Bench()
    bench.hears(message("session:reconnect", "r", top=None))
    assert published(bench.attached(epoch=2, owner=WORKER, fence=3, existed=True, is_acked=True)) == [
        Published(WORKER, CALL, 2, 1, "r")
    ]


def test_older_owner_notice_does_not_mislead() -> None:
    """Notices and the reply to attach come over different connections: the higher fence is the newer word."""
    bench = Bench()
    bench.hears(session_new())
    bench.attached(owner="worker-2", fence=5, existed=True)
    bench.owner("worker-1", fence=4)
    assert numbers(bench.hears(hook("m1"))) == [("worker-2", 2)]


def test_newer_owner_notice_moves_the_call() -> None:
    """A takeover: events go to the new owner from the next one on."""
    bench = running_call()
    bench.owner("worker-2", fence=2)
    assert [worker for worker, _ in numbers(bench.hears(hook("m1")))] == ["worker-2"]


def test_call_that_lost_its_owner_offers_one_event_again() -> None:
    """Its worker is dead: any worker may take the next event, only one of them."""
    bench = running_call()
    bench.owner("", fence=2)
    assert numbers(bench.hears(hook("m1"))) == [("", 3)]
    assert numbers(bench.hears(hook("m2"))) == []
    assert numbers(bench.owner("worker-2", fence=3)) == [("worker-2", 4)]


def returned_event(effects: list[object]) -> Envelope:
    [envelope] = [effect.envelope for effect in effects if isinstance(effect, Publish)]
    return envelope


def test_event_whose_inbox_is_gone_goes_to_dispatch_with_its_number() -> None:
    """No event goes to a dead worker, and the new owner sees no hole (P2, P6)."""
    bench = running_call()
    envelope = returned_event([*bench.hears(hook("m1"))])
    assert bench.session.returned(WORKER, envelope) == [Publish("", envelope)]


def test_returned_events_go_before_those_that_came_later() -> None:
    """Several events were in flight to the dead worker: the first is offered, the rest follows it in order."""
    bench = running_call()
    first = returned_event([*bench.hears(hook("m1"))])
    second = returned_event([*bench.hears(hook("m2"))])
    assert numbers(bench.session.returned(WORKER, first)) == [("", 3)]
    assert numbers(bench.hears(hook("m3"))) == []
    assert numbers(bench.session.returned(WORKER, second)) == []
    assert numbers(bench.owner("worker-2", fence=2)) == [("worker-2", 4), ("worker-2", 5)]
    assert bench.session.held_bytes == 0


def test_owner_that_says_again_that_it_lives_gets_what_is_held() -> None:
    """Back after an outage it has told its gateways (restore.lua), which had found no inbox: its fence is the same."""
    bench = running_call()
    bench.session.returned(WORKER, returned_event([*bench.hears(hook("m1"))]))
    assert numbers(bench.hears(hook("m2"))) == []
    assert numbers(bench.owner(WORKER, fence=1)) == [(WORKER, 4)]


def test_owner_whose_inbox_is_gone_is_told_to_a_redis_that_has_lost_the_call() -> None:
    """P5: the owner lives. Without its name anybody would get the call, and none of its state."""
    bench = running_call()
    envelope = returned_event([*bench.hears(hook("m1"))])
    bench.session.returned(WORKER, envelope)
    assert bench.session.known(CALL).owner == WORKER
    bench.owner("", fence=2)
    assert bench.session.known(CALL).owner == "", "it was taken from the dead worker"


def test_event_returned_after_the_takeover_goes_to_the_new_owner() -> None:
    """The notice of the new owner may overtake the word that the old inbox is gone."""
    bench = running_call()
    envelope = returned_event([*bench.hears(hook("m1"))])
    bench.owner("worker-2", fence=2)
    assert bench.session.returned(WORKER, envelope) == [Publish("worker-2", envelope)]


def test_event_returned_when_the_call_is_forgotten_goes_to_dispatch() -> None:
    """P3: even then it is handled, by whoever claims the Call."""
    bench = running_call()
    envelope = returned_event([*bench.hears(hook("m1"))])
    bench.session.closed(1006)
    bench.session.detached(CALL, 0, START_MS)
    assert bench.session.returned(WORKER, envelope) == [Publish("", envelope)]


def test_held_bytes_drop_the_oldest_notices_first() -> None:
    """A hook that is dropped is a caller who waits; a token result is not."""
    bench = attached_call(SessionPolicy(max_held_bytes=600))
    bench.owner("", fence=2)
    bench.hears(status("trying", "offered"))
    bench.hears(hook("m1"))
    bench.hears(message("verb:status", "old", pad="x" * 200))
    effects = bench.hears(message("verb:status", "new", pad="y" * 250))
    assert counted(effects) == ["event_dropped"]
    assert [event.msgid for event in published(bench.owner("worker-2", fence=3))] == ["m1", "new"]


def test_held_events_are_bounded_however_small_they_are() -> None:
    """A call that floods while no worker lives must not make the gateway count through 25,000 of them for each more."""
    bench = attached_call()
    bench.owner("", fence=2)
    bench.hears(status("trying", "offered"))
    bench.hears(hook("first"))
    dropped = [
        name for number in range(HELD_MAX) for name in counted(bench.hears(message("verb:status", f"n{number}")))
    ]
    assert dropped == ["event_dropped"]
    held = [event.msgid for event in published(bench.owner("worker-2", fence=3))]
    assert held == ["first", *(f"n{number}" for number in range(1, HELD_MAX))]


def test_held_hooks_are_dropped_when_nothing_else_is_left() -> None:
    """The bound holds whatever is held; the deadline guard still acks what was dropped."""
    bench = attached_call(SessionPolicy(max_held_bytes=250))
    bench.owner("", fence=2)
    bench.hears(status("trying", "offered"))
    bench.hears(hook("m1"))
    effects = bench.hears(hook("m2", pad="x" * 100))
    assert counted(effects) == ["event_dropped"]
    assert bench.session.held_bytes <= 250
    effects = bench.owner("worker-2", fence=3)
    assert [(event.msgid, event.n) for event in published(effects)] == [("m2", 3)], "dropped events leave no hole"


def test_held_bytes_are_bounded_for_all_calls_of_a_websocket() -> None:
    """A websocket may carry 64 legs (P9); what is dropped is of the call that holds most."""
    bench = running_call(SessionPolicy(max_held_bytes=700))
    bench.owner("", fence=2)
    bench.hears(status("trying", "offered"))
    bench.hears(message("verb:status", "own", pad="x" * 100))
    for number in range(2):
        bench.hears(message("call:status", f"leg-{number}", sid=LEG, pad="y" * 150))
    assert counted(bench.hears(message("call:status", "other", sid="leg-c"))) == ["event_dropped"]
    assert bench.session.held_bytes <= 700
    assert [event.msgid for event in published(bench.owner("worker-2", fence=3))] == ["own"]
    assert [event.msgid for event in published(bench.attached(LEG, owner=WORKER))] == ["leg-1"]
    assert [event.msgid for event in published(bench.attached("leg-c", owner=WORKER))] == ["other"]
    assert bench.session.held_bytes == 0


def test_process_that_holds_too_much_leaves_each_websocket_its_share() -> None:
    """Some calls that hold much must not be the reason that others lose what they hold."""
    pools = Pools(1000, sockets_max=4)
    full, quiet = (Bench(policy=SessionPolicy(max_held_bytes=5000), pools=pools) for _ in range(2))
    for number in range(6):
        full.hears(message("call:status", f"f{number}", pad="x" * 100))
    assert 900 < full.session.held_bytes == pools.held.used_bytes < 1000
    assert counted(quiet.hears(session_new())) == []
    assert pools.held.used_bytes > 1000
    assert counted(full.hears(status("trying"))) == ["event_dropped"]
    assert pools.held.used_bytes == full.session.held_bytes + quiet.session.held_bytes < 1000
    assert counted(quiet.hears(message("verb:status", "long", pad="x" * 200))) == ["event_dropped"], "over its share"


def test_events_of_a_foreign_call_are_held_no_longer() -> None:
    """Nothing of it stays in the process (P8)."""
    pools = Pools()
    bench = Bench(pools=pools)
    bench.hears(session_new())
    assert pools.held.used_bytes > 0
    bench.session.refused(CALL)
    assert pools.held.used_bytes == 0


def test_events_without_a_call_are_held_no_longer_when_the_socket_closes() -> None:
    """Nobody asks for them any more."""
    pools = Pools()
    bench = Bench(pools=pools)
    bench.hears(message("verb:status", "v", sid=None, top=None))
    assert pools.held.used_bytes > 0
    bench.session.closed(1006)
    assert pools.held.used_bytes == 0


def test_message_without_a_call_belongs_to_the_primary_one() -> None:
    """verb:status, TTS and LLM messages name no call (PROTOCOL.md 2.11)."""
    bench = running_call()
    effects = bench.hears(message("tts:tokens-result", "t1", sid=None, id=1, status="ok"))
    assert [event.call_sid for event in published(effects)] == [CALL]


def test_outbound_call_is_known_by_its_statuses_before_session_new() -> None:
    """Statuses before the answer have no call_sid at the top (pitfalls 13 and 14)."""
    bench = Bench()
    assert bench.hears(status("trying", top=None)) == [Attach(CALL, "main", is_reconnect=False)]
    bench.attached()
    bench.owner()
    assert numbers(bench.hears(session_new(direction="outbound"))) == [(WORKER, 2)]


def test_call_named_by_the_url_needs_no_naming_message() -> None:
    """Sockets of a redirect verb may say nothing of the call (PROTOCOL.md 2.5): the app puts it into the URL."""
    bench = Bench(call_sid=CALL)
    effects = bench.hears(message("session:redirect", "m1", sid=None, top=None, hook="ws://x/next"))
    assert effects == [Attach(CALL, "side", is_reconnect=False)]


def test_word_about_a_call_that_is_not_here_is_ignored() -> None:
    """Replies for a leg that has been forgotten in the meantime may still be on their way."""
    bench = running_call()
    assert bench.attached("other") == []
    assert bench.owner(call_sid="other") == []
    assert bench.log(call_sid="other") == []
    assert bench.session.resubscribed("other") == []
    assert bench.session.detached("other", 0, START_MS) == []


def test_hook_that_is_still_owed_is_published_again_when_the_call_is_attached_again() -> None:
    """Redis may have lost it with its last second; with the same number a worker that knows it ignores it (P3, P6)."""
    bench = running_call()
    first = bench.hears(hook("m1"))
    again = bench.attached(owner=WORKER, fence=1, seq=1, existed=True)
    assert published(again) == published(first)


def test_answered_hook_is_not_published_again() -> None:
    """Whoever answered it, a worker or the guard."""
    bench = running_call()
    bench.hears(hook("m1"))
    bench.hears(hook("m2"))
    bench.batch(2, ack("d1", "m1"))
    bench.later(4.0)
    assert published(bench.attached(owner=WORKER, fence=1, seq=2, existed=True)) == []


def test_hook_that_came_before_its_call_had_a_name_is_not_published_again_either() -> None:
    """It belongs to the Call that was named later."""
    bench = Bench()
    bench.hears(hook("m1", sid=None, top=None))
    bench.hears(status("trying"))
    bench.attached()
    bench.owner()
    bench.batch(1, ack("d1", "m1"))
    assert published(bench.attached(owner=WORKER, fence=1, seq=1, existed=True)) == []


def test_unowned_hook_published_again_is_the_offer() -> None:
    """Redis came back empty: the owed hook goes to dispatch, newer events wait for who takes it."""
    bench = running_call()
    bench.hears(hook("m1"))
    assert numbers(bench.attached()) == [("", 3)]
    assert numbers(bench.hears(hook("m2"))) == []


def test_owner_notice_that_overtakes_the_answer_to_attach_lets_nothing_out() -> None:
    """P2: what came before it has no number yet."""
    bench = Bench()
    bench.hears(session_new())
    bench.owner()
    assert numbers(bench.hears(status("trying"))) == []
    assert numbers(bench.attached(owner=WORKER, fence=1, existed=True)) == [(WORKER, 1), (WORKER, 2)]


def test_older_answer_to_attach_does_not_take_the_owner_away() -> None:
    """The notice of a claim may overtake the answer that was written before it."""
    bench = Bench()
    bench.hears(session_new())
    bench.owner("worker-2", fence=9)
    assert numbers(bench.attached(existed=True, fence=0)) == [("worker-2", 1)]


def test_hook_that_was_answered_before_it_could_be_published_is_published_once() -> None:
    """Its owner had died; attached again, nothing is said again that nobody waits for, and nothing is kept."""
    bench = running_call()
    bench.owner("", 2)
    bench.hears(status("in-progress"))
    bench.hears(hook("m1"))
    bench.hears(hook("m2"))
    bench.later(2.0)
    bench.hears(hook("m3"))
    assert list(acks(bench.later(2.0))) == ["m1", "m2"]
    assert [it.msgid for it in published(bench.owner("worker-2", 3))][-3:] == ["m1", "m2", "m3"]
    bench.batch(2, ack("d", "m1"))
    again = bench.attached(owner="worker-2", fence=3, seq=2, existed=True, is_acked=True)
    assert [it.msgid for it in published(again)] == ["m3"]


def test_events_that_came_back_are_not_dropped() -> None:
    """They have numbers: a hole would hold up all that follows."""
    bench = Bench(policy=SessionPolicy(max_held_bytes=200))
    bench.hears(session_new())
    bench.attached()
    bench.owner()
    gone = [
        effect.envelope
        for number in range(2)
        for effect in bench.hears(message("call:status", f"s{number}", pad="x" * 300))
        if isinstance(effect, Publish)
    ]
    for envelope in gone:
        bench.session.returned(WORKER, envelope)
    assert bench.session.held_bytes > 300
    assert counted(bench.hears(status("trying"))) == ["event_dropped"]
    assert numbers(bench.owner("worker-2", fence=2)) == [("worker-2", gone[1].n)]


def test_call_that_is_refused_twice_has_gone_before() -> None:
    """Redis may answer an attachment that was said again."""
    bench = Bench()
    assert counted(bench.session.refused("unknown")) == ["foreign_call"]

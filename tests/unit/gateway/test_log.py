"""Batches: each once, in order, whatever channel and log have lost; two sockets of one call share them."""

import pytest

from jambonz_gateway.effects import Delivered, LeftToAnother, ReadLog
from jambonz_gateway.policy import NEVER
from jambonz_gateway.route import Known
from jambonz_shared.directive import BatchSent, CallEnded, Close, Command, Directive
from jambonz_shared.wire import MAX_MESSAGE_BYTES
from tests.unit.gateway.sessions import (
    CALL,
    WORKER,
    Bench,
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
    outcomes,
    running_call,
    sent,
    session_new,
)


def batch_of(seq: int) -> tuple[int, list[Directive]]:
    return seq, [command(f"c{seq}", str(seq))]


def test_missing_batch_is_read_from_the_log() -> None:
    """Pub/sub loses messages, the log does not; nothing is delivered out of order."""
    bench = running_call()
    assert bench.batch(3, command("c3", "three")) == [ReadLog(CALL, 1)]
    effects = bench.log((2, [command("c2", "two")]), (3, [command("c3", "three")]))
    assert commands(effects) == ["two", "three"]
    assert [effect for effect in effects if isinstance(effect, Delivered)] == [Delivered(CALL, 2), Delivered(CALL, 3)]


def test_log_is_read_once_at_a_time() -> None:
    """A burst behind a gap must not become a burst of reads."""
    bench = running_call()
    bench.batch(3, command("c3"))
    assert bench.batch(4, command("c4")) == []


def test_batch_that_came_while_the_log_was_read_is_read_too() -> None:
    """The reply may be older than the batch."""
    bench = running_call()
    bench.batch(3, command("c3", "three"))
    bench.batch(4, command("c4", "four"))
    effects = bench.log((2, [command("c2", "two")]), (3, [command("c3", "three")]))
    assert effects[-1] == ReadLog(CALL, 3)
    assert commands(bench.log((4, [command("c4", "four")]))) == ["four"]


def test_batch_is_not_delivered_twice() -> None:
    """It comes over the channel and is in the log as well."""
    bench = running_call()
    bench.session.resubscribed(CALL)
    assert commands(bench.log((1, [command("old")]), (2, [command("c2")]))) == ["hi"]
    assert commands(bench.batch(2, command("c2"))) == []


def test_batches_another_connection_has_delivered_are_not_waited_for() -> None:
    """They are not in the log any more; the next live batch must not be held up by them."""
    bench = running_call()
    bench.batch(5, command("c5"))
    bench.log()
    assert commands(bench.batch(6, command("c6", "six"))) == ["six"]


def test_resubscribed_channel_makes_the_log_be_read() -> None:
    """While the channel was deaf, batches may have come that nobody has told us of."""
    bench = running_call()
    assert bench.session.resubscribed(CALL) == [ReadLog(CALL, 1)]
    bench.log()
    assert commands(bench.batch(2, command("c2"))) == ["hi"]


def test_log_that_was_being_read_at_the_resubscription_is_read_again() -> None:
    """It may have been read before the channel heard again: what was said between is in neither (P4)."""
    bench = running_call()
    assert ReadLog(CALL, 1) in bench.batch(3, command("c3"))
    assert bench.session.resubscribed(CALL) == []
    assert ReadLog(CALL, 3) in bench.log((2, [command("c2")]), (3, [command("c3")]))
    effects = bench.log((4, [command("c4", "four")]))
    assert commands(effects) == ["four"]
    assert not any(isinstance(effect, ReadLog) for effect in effects), "once"


def test_answer_to_an_earlier_reading_does_not_end_a_later_one() -> None:
    """Attached again, a log is read twice at a time: what the first answer lacks must come with the second (P4)."""
    bench = running_call()
    bench.session.resubscribed(CALL)
    earlier = bench.session.routes[CALL].asked
    bench.attached(owner=WORKER, fence=1, seq=3, existed=True)
    assert bench.session.routes[CALL].asked.covers == 3
    two, three, four = (batch_of(seq) for seq in (2, 3, 4))
    assert bench.answer(earlier, two) == []
    assert commands(bench.batch(4, command("c4", "too early"))) == []
    assert commands(bench.log(two, three, four)) == ["2", "3", "4"]


def test_connection_that_has_left_leaves_its_batches_also_while_a_log_is_read() -> None:
    """They lie before the cursor of that reading."""
    bench = running_call()
    bench.newer(line="left")
    two, three, four = (batch_of(seq) for seq in (2, 3, 4))
    bench.batch(two[0], *two[1])
    assert ReadLog(CALL, 2) in bench.batch(four[0], *four[1])
    earlier = bench.session.routes[CALL].asked
    assert ReadLog(CALL, 0) in bench.left()
    assert bench.answer(earlier, three, four) == []
    assert commands(bench.log(two, three, four)) == ["2", "3", "4"]


def test_connection_that_has_left_unnoticed_leaves_its_batches_to_a_second_reading() -> None:
    """Channels and link were away: the first reading begins at the old cursor, before Redis tells who left."""
    bench = running_call()
    bench.newer(line="left")
    two = batch_of(2)
    bench.batch(two[0], *two[1])
    assert bench.session.resubscribed(CALL) == [ReadLog(CALL, 2)]
    earlier = bench.session.routes[CALL].asked
    assert ReadLog(CALL, 0) in bench.attached(owner=WORKER, fence=1, seq=2, existed=True)
    assert bench.answer(earlier) == []
    assert commands(bench.log(two)) == ["2"]


def test_batch_nobody_can_read_is_skipped_and_counted() -> None:
    """A worker of another version must not block a call; its hooks are acked by the guard."""
    bench = running_call()
    effects = bench.channel(BatchSent(2, b"9:garbage"))
    assert counted(effects) == ["bad_batch"]
    assert Delivered(CALL, 2) in effects
    assert commands(bench.batch(3, command("c3"))) == ["hi"]


def test_command_over_the_limit_is_refused() -> None:
    """P10: jambonz closes the socket on a bigger message, near the end of a call it even dies (pitfall 1)."""
    bench = running_call()
    big = Command("c1", b'{"type":"command"' + b" " * MAX_MESSAGE_BYTES + b"}", WORKER)
    effects = bench.batch(2, big, command("c2"))
    assert outcomes(effects) == [("c1", "refused"), ("c2", "sent")]
    assert counted(effects) == ["command_refused"]
    assert len(sent(effects)) == 1


def test_command_at_the_limit_is_sent() -> None:
    """The limit is what jambonz takes less a reserve, not one byte less."""
    bench = running_call()
    frame = b'{"type":"command"' + b" " * (MAX_MESSAGE_BYTES - 18) + b"}"
    assert len(frame) == MAX_MESSAGE_BYTES
    assert outcomes(bench.batch(2, Command("c1", frame, WORKER))) == [("c1", "sent")]


def test_application_may_close_its_socket() -> None:
    """The code is the application's: 1012 moves the call, 1000 ends our part of it."""
    effects = running_call().batch(2, Close("x1", 1012, WORKER))
    assert close_codes(effects) == [1012]
    assert outcomes(effects) == [("x1", "sent")]


def test_newest_connection_gets_the_commands() -> None:
    """After a redirect verb two sockets live: jambonz listens for commands of the application on the newer."""
    bench = running_call()
    bench.newer()
    effects = bench.batch(2, command("c1"))
    assert commands(effects) == []
    assert outcomes(effects) == []
    assert Delivered(CALL, 2) not in effects


def test_older_connection_still_answers_its_own_hooks() -> None:
    """Acks go to the socket that holds the hook, whichever is newest."""
    bench = running_call()
    bench.newer()
    bench.hears(hook("m1"))
    assert list(acks(bench.batch(2, ack("d1", "m1")))) == ["m1"]


def test_ack_for_another_live_socket_is_not_touched() -> None:
    """Neither sent, nor turned into a redirect, nor reported: its own Connection does that."""
    bench = running_call()
    bench.newer(line="side")
    effects = bench.batch(2, ack("d1", "m1", epoch=2))
    assert effects == []


def test_newest_connection_leaves_the_ack_of_an_older_live_socket_alone() -> None:
    """P1: in the log, too, where the older one looks for it whose gateway has missed what the channel said."""
    bench = side_line()
    assert bench.batch(1, ack("d1", "m1", epoch=1)) == [LeftToAnother(CALL, 1)]
    assert Delivered(CALL, 2) in bench.batch(2, ack("d2", "r", epoch=2)), "its own"
    bench.left(1)
    assert counted(bench.batch(3, ack("d3", "m1", epoch=1))) == ["late_ack"], "that one has died with the hook"


def test_newest_connection_deletes_what_it_has_a_part_in() -> None:
    """P4: found in the log by the Connection that follows it, the command would be sent twice."""
    effects = side_line().batch(1, ack("d1", "m1", epoch=1), command("c1"))
    assert commands(effects) == ["hi"]
    assert Delivered(CALL, 1) in effects


def test_older_connection_deletes_the_acks_of_its_own_hooks() -> None:
    """A side line that comes back later would say them as a redirect, as answers that have died with their socket."""
    bench = running_call()
    bench.newer()
    bench.hears(hook("m1"))
    assert Delivered(CALL, 2) in bench.batch(2, ack("d1", "m1"))
    bench.hears(hook("m2"))
    assert Delivered(CALL, 3) not in bench.batch(3, ack("d2", "m2"), command("c1")), "the command is the newer one's"


def test_older_connection_takes_over_when_the_newer_has_left() -> None:
    """P4: commands that only the newer one would have delivered are in the log."""
    bench = running_call()
    bench.newer(line="left")
    bench.batch(2, command("c2", "two"))
    assert bench.left() == [ReadLog(CALL, 0)]
    effects = bench.log((2, [command("c2", "two")]))
    assert commands(effects) == ["two"]
    assert Delivered(CALL, 2) in effects
    assert commands(bench.batch(3, command("c3", "three"))) == ["three"]


def test_commands_wait_for_the_side_line_once_there_was_one() -> None:
    """jambonz has taken its ears from the main line (PROTOCOL.md 2.5): a command there would be lost (P4)."""
    bench = running_call()
    bench.newer(line="side")
    bench.newer(3, line="left")
    assert bench.left() == []
    assert bench.left(3) == []
    assert commands(bench.batch(2, command("c2", "two"))) == []
    bench.attached(owner=WORKER, fence=1, seq=2, is_acked=True)
    assert commands(bench.log((2, [command("c2", "two")]))) == [], "Redis has lost what it knew of the side line"
    reconnected = Bench()
    reconnected.hears(message("session:reconnect", "r"))
    reconnected.attached(epoch=3, is_acked=True, existed=True, is_passed_over=True)
    assert commands(reconnected.batch(1, command("c3", "three"))) == []


def test_late_answer_is_refused_where_jambonz_has_no_ears_any_more() -> None:
    """The side line does not touch it, so nobody else would tell the worker."""
    bench = running_call()
    bench.hears(hook("m1"))
    bench.later(4.0)
    bench.newer(line="side")
    assert outcomes(bench.batch(2, ack("d1", "m1"))) == [("d1", "refused")]


def test_side_line_keeps_the_commands_when_the_main_line_comes_back() -> None:
    """Its epoch is higher then, but jambonz has no ears there; acks of its hooks stay its own."""
    bench = Bench()
    bench.hears(message("session:redirect", "r", hook="wss://x/next", top=None))
    bench.attached(epoch=2, existed=True, is_acked=True, live=(1, 2))
    bench.left(1)
    assert bench.newer(3, "main") == []
    assert commands(bench.batch(1, command("c1"), ack("d1", "m1", epoch=3))) == ["hi"]
    bench.attached(epoch=2, existed=True, is_acked=True, seq=1, live=(2, 3))
    assert commands(bench.batch(2, command("c2"))) == ["hi"]


def test_command_that_waits_on_the_side_line_is_not_left_to_the_main_line() -> None:
    """The main line has come back and is newer, but it will not send it."""
    bench = Bench()
    bench.hears(message("session:redirect", "r", hook="wss://x/next", top=None))
    bench.attached(epoch=2, existed=True, is_acked=True, live=(1, 2))
    bench.batch(1, ack("d1", "r", epoch=2), command("c1"))
    bench.newer(3, "main")
    assert commands(bench.pong()) == ["hi"]


def test_redis_that_lost_a_call_learns_from_its_side_line_that_it_was_acked() -> None:
    """The main line may be gone; on the next one session:new would be handled a second time."""
    bench = Bench()
    bench.hears(message("session:redirect", "r", hook="wss://x/next", top=None))
    bench.attached(epoch=2, existed=True, is_acked=True)
    assert bench.session.known(CALL).is_acked


def test_dead_socket_s_ack_is_none_of_an_older_connection() -> None:
    """The newest sends it as a redirect, and tells the worker so; nobody may tell it something else."""
    bench = Bench()
    bench.hears(message("session:reconnect", "r"))
    bench.attached(epoch=2, existed=True, is_acked=True)
    bench.newer(3, "side")
    assert outcomes(bench.batch(1, ack("d1", "m-old", epoch=1))) == []


@pytest.mark.parametrize("kind", ["session:redirect", "session:adulting"])
def test_side_line_that_was_left_for_another_is_closed_for_good(kind: str) -> None:
    """With any other code jambonz would open it again, and push the newer one aside; the call itself goes on."""
    bench = Bench()
    bench.hears(message(kind, "r", hook="wss://x/next", top=None))
    bench.attached(existed=True, is_acked=True)
    assert close_codes(bench.newer(2, "side")) == [1000]
    bench.session.closed(1000, by_us=True)
    assert kinds_published(bench.session.detached(CALL, 0, 5)) == ["cluster:detached"]


def side_line() -> Bench:
    """Return the newer socket of a call that has two."""
    bench = Bench()
    bench.hears(message("session:redirect", "r", hook="wss://x/next", top=None))
    bench.attached(epoch=2, existed=True, is_acked=True, live=(1, 2))
    return bench


def test_older_connection_that_leaves_changes_nothing() -> None:
    """The newest has all of its batches."""
    bench = running_call()
    bench.session.routes[CALL].live_epochs.add(0)
    assert bench.left(0) == []


def test_half_open_socket_is_closed_when_jambonz_has_reconnected() -> None:
    """One line, one socket: ours is dead, only TCP does not know it yet."""
    bench = running_call()
    effects = bench.newer(2, "main")
    assert close_codes(effects) == [1001]
    assert counted(effects) == ["replaced"]
    assert commands(bench.batch(2, command("c1"))) == []


def test_own_and_older_attach_notices_change_nothing() -> None:
    """The channel tells everybody, the one who attached as well."""
    bench = running_call()
    assert bench.newer(1, "main") == []
    assert bench.newer(0, "main") == []


def test_word_that_the_call_has_ended_changes_nothing() -> None:
    """The socket is closed by jambonz or reaped; the keys are gone already."""
    assert running_call().channel(CallEnded()) == []


def test_nothing_is_delivered_on_a_closed_socket() -> None:
    """P4: the log keeps it for the next Connection."""
    bench = running_call()
    bench.session.closed(1006)
    assert bench.batch(2, command("c1")) == []
    assert bench.log((2, [command("c1")])) == []
    assert bench.session.resubscribed(CALL) == []


def test_batch_that_overtakes_the_reply_to_attach_is_read_from_the_log() -> None:
    """Channel and replies are two connections; a Call may be commanded from its first moment."""
    bench = Bench()
    bench.hears(session_new(direction="outbound"))
    assert bench.batch(1, command("c1")) == []
    assert ReadLog(CALL, 0) in bench.attached()


def test_log_that_was_being_read_when_the_link_broke_is_read_again() -> None:
    """Otherwise every later batch would wait for a reply that never comes."""
    bench = running_call()
    bench.batch(3, command("c3"))
    assert ReadLog(CALL, 1) in bench.attached(owner=WORKER, fence=1, seq=3, existed=True)


def test_command_that_waits_is_left_to_a_newer_connection() -> None:
    """The newer one reads it from the log: sent by both it would be heard twice."""
    bench = attached_call()
    bench.batch(1, ack("d0", "new"), command("c1"))
    bench.newer(line="left")
    assert commands(bench.later(0.25)) == []
    bench.left()
    assert commands(bench.log((1, [ack("d0", "new"), command("c1")]))) == ["hi"]


def test_connection_learns_from_attaching_again_that_the_newer_one_has_left() -> None:
    """The notice was lost while the channel was deaf; what the newer one left in the log is ours."""
    bench = running_call()
    bench.newer(line="left")
    bench.batch(2, command("c2", "two"))
    assert ReadLog(CALL, 0) in bench.attached(owner=WORKER, fence=1, seq=2, existed=True)
    assert commands(bench.log((2, [command("c2", "two")]))) == ["two"]


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 2000, 5000])
def test_close_with_a_code_no_websocket_may_send_is_refused(code: int) -> None:
    """RFC 6455 7.4; P4: the application is told, and its call goes on."""
    effects = running_call().batch(2, Close("x1", code, WORKER))
    assert close_codes(effects) == []
    assert outcomes(effects) == [("x1", "refused")]


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 1013, 3000, 4999])
def test_close_with_a_code_of_a_server_or_an_application_is_sent(code: int) -> None:
    """What the two others are for (RFC 6455 7.4.2)."""
    assert close_codes(running_call().batch(2, Close("x1", code, WORKER))) == [code]


def test_command_behind_a_close_in_its_batch_is_refused() -> None:
    """P4: a closing socket takes nothing, and left in the log the close would be found again with it."""
    bench = running_call()
    effects = bench.batch(2, Close("x1", 1012, WORKER), command("c1"), ack("d1", "m1"))
    assert close_codes(effects) == [1012]
    assert sent(effects) == []
    assert outcomes(effects) == [("x1", "sent"), ("c1", "refused"), ("d1", "refused")]
    assert Delivered(CALL, 2) in effects


def test_batch_that_comes_while_the_socket_closes_stays_in_the_log() -> None:
    """P4: the closing handshake takes a round trip; the next Connection delivers it."""
    bench = running_call()
    bench.batch(2, Close("x1", 1012, WORKER))
    assert bench.batch(3, command("c1")) == []
    bench.session.resubscribed(CALL)
    assert Delivered(CALL, 3) not in bench.log((3, [command("c1")]))


def test_hook_is_not_answered_on_a_closing_socket() -> None:
    """Its ack would be lost; it counts as dead when the socket is gone, and its late verbs become a redirect."""
    bench = running_call()
    bench.hears(hook("m1"))
    bench.batch(2, Close("x1", 1012, WORKER))
    assert bench.session.wake_at_s == NEVER
    assert bench.later(4.0) == []
    assert counted(bench.session.closed(1012, by_us=True)) == ["hook_died"]


def test_waiting_close_lets_only_its_own_batch_go() -> None:
    """Commands of later batches wait in the log, those behind the close in its batch are refused."""
    bench = attached_call()
    bench.batch(1, ack("d0", "new"), Close("x1", 1012, WORKER), command("c1"))
    bench.batch(2, command("c2"))
    effects = bench.later(0.25)
    assert commands(effects) == []
    assert outcomes(effects) == [("x1", "sent"), ("c1", "refused")]
    assert Delivered(CALL, 1) in effects
    assert Delivered(CALL, 2) not in effects


def test_connection_that_leaves_before_the_own_epoch_is_known_is_not_waited_for() -> None:
    """Notices overtake the reply to attach, which still counted the one that has left."""
    bench = Bench()
    bench.hears(message("session:reconnect", "r"))
    bench.left(1)
    bench.attached(epoch=2, owner=WORKER, fence=1, seq=1, existed=True, is_acked=True, live=(1, 2))
    assert commands(bench.log((1, [ack("d1", "m-old", epoch=1)]))) == ["hi"]


def test_redis_that_lost_the_call_is_told_owner_fence_and_ack() -> None:
    """P6: nobody else knows any more; a call that rings has not been acked, whatever its socket is owed."""
    bench = attached_call()
    assert bench.session.known(CALL) == Known(WORKER, 1, is_acked=False)
    bench.batch(1, ack("d0", "new"))
    bench.pong()
    assert bench.session.known(CALL) == Known(WORKER, 1, is_acked=True)
    assert bench.session.known("other") == Known()


def test_notice_of_a_newer_connection_that_overtakes_the_own_epoch_is_not_lost() -> None:
    """Channel and replies are two connections: our own notice says nothing new, a newer one does."""
    bench = Bench()
    bench.hears(session_new())
    assert bench.newer(1, "main") == []
    assert bench.newer(2, "main") == []
    assert close_codes(bench.attached()) == [1001]

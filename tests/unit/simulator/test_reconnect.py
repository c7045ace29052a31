"""Lost sockets: back-off, session:reconnect, queued messages, zombies, orphans (PROTOCOL.md 1.3, 1.4, 2.6)."""

import pytest

from jambonz_simulator.core.effects import Failure
from jambonz_simulator.core.script import Dial, DropSocket, Script, SendHook, SendNotice
from jambonz_simulator.core.timing import JAMBONZ_TIMING
from tests.unit.simulator.stage import GATHER, HELLO, PAUSE, Stage, running


def reconnected(stage: Stage) -> Stage:
    """Wait out the next back-off, however long, and ack session:reconnect."""
    sockets = len(stage.opened)
    while len(stage.opened) == sockets:
        wakes_at_s = stage.call.wakes_at_s
        assert wakes_at_s is not None, "no reconnect is planned"
        stage.advance(wakes_at_s - stage.now_s)
    return stage.ack(stage.last("session:reconnect"))


@pytest.mark.parametrize("code", [1001, 1005, 1006, 1008, 1009, 1011, 1012, 1013, 4000])
def test_any_close_but_1000_is_followed_by_a_reconnect_after_half_a_second(code: int) -> None:
    """Section 1.3."""
    stage = running(PAUSE).server_closes(code).advance(0.49)
    assert len(stage.opened) == 1
    stage.advance(0.02)
    assert len(stage.opened) == 2
    assert stage.last()["type"] == "session:reconnect"


def test_close_1000_makes_the_call_deaf() -> None:
    """Section 1.3: no reconnect, later messages are discarded, verbs go on, then the call ends."""
    stage = running([{"verb": "pause", "length": 5}]).server_closes(1000).do(SendHook("/x")).advance(4)
    assert stage.result is None
    assert stage.sent("verb:hook") == []
    stage.advance(2)
    assert len(stage.opened) == 1
    assert stage.outcome == "deaf"
    assert stage.statuses() == ["trying", "in-progress"]
    assert stage.anomalies() == ["closed_1000"]


def test_close_1000_while_waiting_for_commands_leaves_the_call_up_until_the_caller_leaves() -> None:
    stage = running(HELLO).advance(5).server_closes(1000).advance(3600)
    assert stage.result is None
    assert stage.hang_up().outcome == "deaf"


def test_close_1000_before_the_first_ack_rejects_the_call() -> None:
    """session:new resolves to nothing: no application."""
    stage = Stage().start().server_closes(1000).advance(6)
    assert stage.outcome == "rejected"


def test_back_off_grows_and_never_resets() -> None:
    """Section 1.4: 0.5, 1, 2, 4 s between the five sockets of a call's life."""
    stage = running(PAUSE)
    waits = []
    for _ in range(4):
        lost_at_s = stage.now_s
        stage.server_closes(1006)
        reconnected(stage)
        waits.append(round(stage.now_s - lost_at_s, 3))
    assert waits == [0.5, 1, 2, 4]
    stage.server_closes(1006).advance(600)
    assert len(stage.opened) == 5


def test_delays_continue_6_8_10() -> None:
    delays = [0.5]
    for _ in range(6):
        delays.append(JAMBONZ_TIMING.next_backoff_s(delays[-1]))
    assert delays == [0.5, 1, 2, 4, 6, 8, 10]


@pytest.mark.parametrize(("rc", "sockets"), [(1, 1), (2, 2), (3, 3)])
def test_rc_limits_the_sockets_of_a_call(rc: int, sockets: int) -> None:
    """Section 1.4: rc=1 means no reconnect, rc=2 one."""
    stage = Stage(url=f"ws://app.test/#rc={rc}").start()
    stage.ack(stage.last(), PAUSE).advance(0.01)
    for _ in range(sockets - 1):
        reconnected(stage.server_closes(1012))
    stage.server_closes(1012).advance(600)
    assert len(stage.opened) == sockets


def test_session_reconnect_repeats_the_data_of_session_new() -> None:
    """Section 2.6.1, pitfall 35: not the current state, no hook, no b3."""
    stage = running(PAUSE).server_closes(1006).advance(0.5)
    reconnect, new = stage.last("session:reconnect"), stage.last("session:new")
    assert reconnect["data"] == new["data"]
    assert reconnect["data"]["call_status"] == "trying"
    assert reconnect["call_sid"] == new["call_sid"]
    assert "hook" not in reconnect
    assert "b3" not in reconnect


def test_pending_hook_dies_at_the_drop_and_its_ack_on_the_new_socket_is_late() -> None:
    """Sections 2.3 and 2.6.2, pitfall 8: gather goes on without the answer."""
    stage = running([*GATHER, *PAUSE])
    stage.press("1")
    hook = stage.last("verb:hook")
    stage.server_closes(1006)
    assert stage.call.world.ledger.hooks[hook["msgid"]].dead_by == "drop"
    assert stage.verb == "pause"
    # The report of gather is a message to send, so jambonz connects at once (1.4).
    stage.ack(stage.last("session:reconnect")).ack(hook, GATHER)
    assert stage.last("jambonz:error")["data"]["msg"] == "invalid actionHook response"
    assert stage.verb == "pause"
    assert "late_ack" in stage.anomalies()


def test_messages_of_the_gap_follow_the_reconnect_ack_hooks_first() -> None:
    """Section 2.6.2, pitfall 34: the order is not preserved."""
    stage = running(PAUSE).server_closes(1006)
    stage.do(SendNotice("llm:event", {"n": 1}, "/e"))
    assert stage.last()["type"] == "session:reconnect", "a message to send connects at once (1.4)"
    stage.do(SendNotice("llm:event", {"n": 2}, "/e")).do(SendHook("/count"))
    assert stage.sent("llm:event") == []
    stage.ack(stage.last("session:reconnect"))
    assert [frame["type"] for frame in stage.sent()][-3:] == ["verb:hook", "llm:event", "llm:event"]
    assert [frame["data"]["n"] for frame in stage.sent("llm:event")] == [1, 2]


def test_reconnect_without_an_ack_for_5_s_hangs_up() -> None:
    """Section 2.6.2, pitfall 9: queued hooks are rejected."""
    stage = running(PAUSE).server_closes(1006).advance(0.5).do(SendHook("/count")).advance(5.1)
    assert stage.outcome == "reconnect_failed"
    assert stage.anomalies() == ["deadline_missed", "reconnect_failed"]
    assert stage.sent("verb:hook") == []
    assert stage.statuses()[-1] == "completed"


def test_drop_before_the_reconnect_ack_hangs_up() -> None:
    """The pending session:reconnect is rejected like all pending requests (2.3, 2.6.2)."""
    stage = running(PAUSE).server_closes(1006).advance(0.5).server_closes(1012).advance(20)
    assert stage.outcome == "reconnect_failed"


def test_command_is_taken_before_the_reconnect_ack() -> None:
    """Section 2.6.2."""
    stage = running(PAUSE).server_closes(1006).advance(0.5).command("redirect", GATHER)
    assert stage.verb == "gather"


def test_drop_before_the_first_ack_lets_session_reconnect_inherit_it() -> None:
    """Section 2.6.3: its ack must carry the app, and there is no time limit."""
    stage = Stage().start().server_closes(1006).advance(0.5)
    assert stage.kinds() == ["session:new", "session:reconnect"]
    stage.advance(6.5)
    stage.ack(stage.last("session:reconnect"), GATHER).advance(0.01)
    assert stage.verb == "gather"


def test_call_that_was_dropped_before_its_first_ack_is_a_zombie() -> None:
    """Section 2.6.3, pitfall 10: no message comes any more, commands still work."""
    stage = Stage().start().server_closes(1006).advance(0.5)
    stage.ack(stage.last("session:reconnect"), GATHER).advance(0.01)
    stage.command("redirect", PAUSE).do(SendHook("/count")).advance(60)
    assert stage.verb == "pause"
    assert stage.kinds() == ["session:new", "session:reconnect"]
    assert stage.hang_up().advance(1).outcome == "zombie"


def test_end_of_a_zombie_does_not_wait_for_a_hook_that_is_never_sent() -> None:
    stage = Stage().start().server_closes(1006).advance(0.5)
    stage.ack(stage.last("session:reconnect"), GATHER).advance(0.01)
    stage.press("1")
    assert stage.hang_up().advance(1).outcome == "zombie"


def test_caller_loses_patience_with_an_app_that_loses_all_sockets_before_the_first_ack() -> None:
    """Section 2.6.3: session:reconnect has no deadline, and the fifth socket was the last: only the caller ends it."""
    stage = Stage(Script(patience_s=20)).start()
    for back_off_s in (0.5, 1, 2, 4, 0):
        stage.server_closes(1006).advance(back_off_s)
    assert stage.kinds() == ["session:new", *["session:reconnect"] * 4]
    assert stage.advance(30).outcome == "zombie"
    assert stage.anomalies() == ["caller_gave_up"]


def test_patience_with_a_call_that_has_begun_after_all_is_that_of_its_steps() -> None:
    """The ack came late, but it came: the caller stays as long as the script says."""
    stage = Stage(Script(patience_s=20)).start().server_closes(1006).advance(0.5)
    stage.ack(stage.last("session:reconnect"), [{"verb": "pause", "length": 60}]).advance(0.3)
    assert stage.advance(19).call.result is None
    assert stage.anomalies() == []


def test_zombie_is_cured_by_bouncing_its_socket() -> None:
    """Section 2.6.3: one more reconnect of the budget releases what was queued."""
    stage = Stage().start().server_closes(1006).advance(0.5)
    stage.ack(stage.last("session:reconnect"), PAUSE).advance(0.01).server_closes(1012).advance(1)
    stage.ack(stage.last("session:reconnect")).advance(0.01)
    assert stage.statuses() == ["trying", "in-progress"]
    assert stage.hang_up().advance(1).outcome == "completed"


def test_zombie_is_cured_by_a_redirect_verb_to_another_socket() -> None:
    """Section 2.6.3: the fresh requestor's hooks work; statuses stay on the deaf notifier."""
    stage = Stage().start().server_closes(1006).advance(0.5)
    redirect = [{"verb": "redirect", "actionHook": "ws://app.test/resume?cid=1"}]
    stage.ack(stage.last("session:reconnect"), redirect).advance(0.01)
    assert stage.last("session:redirect")["hook"] == "ws://app.test/resume?cid=1"
    stage.ack(stage.last("session:redirect"), GATHER).press("1")
    assert stage.last("verb:hook")["hook"] == "/menu"
    assert stage.sent("call:status") == []


def test_drop_of_a_reconnect_that_inherited_the_first_ack_is_inherited_again() -> None:
    stage = Stage().start().server_closes(1006).advance(0.5).server_closes(1006).advance(1)
    stage.ack(stage.last("session:reconnect"), PAUSE).advance(0.01)
    assert stage.verb == "pause"


def test_first_ack_deadline_runs_on_while_the_socket_is_down() -> None:
    """The timer of session:new fires if no reconnect took the hook over within 5 s."""
    stage = Stage().start()
    stage.failure = Failure("reset")
    stage.server_closes(1006).advance(5)
    assert stage.outcome == "rejected"


@pytest.mark.parametrize("kind", ["refused", "reset", "handshake_timeout"])
def test_failed_reconnects_are_repeated_and_do_not_count(kind: str) -> None:
    """Section 1.4."""
    stage = running(PAUSE)
    stage.failure = Failure(kind)  # type: ignore[arg-type]
    stage.server_closes(1006).advance(0.5 + 1 + 2 + 4 + 6 + 8 + 10)
    assert len(stage.opened) == 8
    stage.failure = None
    reconnected(stage)
    assert (stage.call.world.ledger.sockets, stage.call.world.ledger.failed_connects) == (2, 7)


def test_http_answer_with_connection_close_ends_automatic_reconnects() -> None:
    """Section 1.4, pitfall 6: a load balancer's 503."""
    stage = running(PAUSE)
    stage.failure = Failure("http", 503, keeps_alive=False)
    stage.server_closes(1006).advance(600)
    assert len(stage.opened) == 2


def test_http_answer_that_keeps_the_connection_is_tried_again_after_the_handshake_limit() -> None:
    """Section 1.4."""
    stage = running(PAUSE)
    stage.failure = Failure("http", 503)
    stage.server_closes(1006).advance(0.5 + 1.5 + 0.9)
    assert len(stage.opened) == 2
    stage.advance(0.2)
    assert len(stage.opened) == 3


def test_message_to_send_connects_even_beyond_the_limit() -> None:
    """Section 1.4: on demand."""
    stage = Stage(url="ws://app.test/#rc=1").start()
    stage.ack(stage.last(), PAUSE).advance(0.01).server_closes(1006).advance(60)
    assert len(stage.opened) == 1
    stage.do(SendHook("/count"))
    assert stage.last()["type"] == "session:reconnect"
    stage.ack(stage.last())
    assert stage.last()["hook"] == "/count"


def test_hook_pending_when_the_limit_is_reached_waits_its_5_s() -> None:
    """Section 2.6.2: not abandoned at the drop."""
    stage = Stage(url="ws://app.test/#rc=1").start()
    stage.ack(stage.last(), PAUSE).advance(0.01).do(SendHook("/count")).server_closes(1006)
    assert stage.call.hooks[-1].dead_by is None
    stage.advance(5)
    assert stage.call.hooks[-1].dead_by == "timeout"


def test_call_that_ends_while_disconnected_sends_just_its_status_and_leaves_the_socket_open() -> None:
    """Section 1.4, pitfall 31: no session:reconnect, and jambonz never closes it."""
    stage = running(PAUSE).server_closes(1006).hang_up().advance(60)
    assert stage.frames[-1][0] == 2
    assert [frame["type"] for number, frame in stage.frames if number == 2] == ["call:status"]
    assert stage.statuses()[-1] == "completed"
    assert stage.closed == []
    assert stage.outcome == "completed"


def test_call_that_ends_while_an_automatic_reconnect_is_under_way_brings_nothing() -> None:
    """The queued status is never released, as session:reconnect is discarded."""
    stage = running(PAUSE)
    stage.opens_by_itself = False
    stage.server_closes(1006).advance(0.5).hang_up()
    assert stage.result is None
    stage.carry_out(stage.call.socket_opened(2, stage.now_s))
    assert stage.outcome == "completed"
    assert stage.statuses() == ["trying", "in-progress"]


@pytest.mark.parametrize("failure", [Failure("reset"), Failure("http", 503)], ids=["reset", "http"])
def test_reconnect_that_fails_after_the_end_is_not_repeated(failure: Failure) -> None:
    stage = running(PAUSE)
    stage.opens_by_itself = False
    stage.server_closes(1006).advance(0.5).hang_up()
    stage.carry_out(stage.call.socket_failed(2, failure, stage.now_s))
    assert stage.outcome == "completed"
    assert stage.advance(60).call.wakes_at_s is None


def test_reconnect_due_after_the_end_does_not_happen() -> None:
    stage = running(PAUSE).server_closes(1006)
    stage.failure = Failure("http", 500)
    stage.hang_up().advance(60)
    assert len(stage.opened) == 2
    assert stage.outcome == "completed"


def test_verb_of_a_deaf_call_goes_on_without_an_answer() -> None:
    """Section 1.3: `request` resolves to nothing."""
    stage = running([*GATHER, *PAUSE]).server_closes(1000)
    stage.press("1")
    assert stage.verb == "pause"


def test_close_of_a_socket_that_is_still_opening_is_a_failure_not_a_drop() -> None:
    """The shell reports one or the other."""
    stage = Stage()
    stage.opens_by_itself = False
    stage.start().server_closes(1006, 1)
    stage.carry_out(stage.call.frames_received(1, ("{}",), stage.now_s))
    stage.carry_out(stage.call.socket_opened(1, stage.now_s))
    assert stage.kinds() == ["session:new"]


def test_dropping_a_socket_that_is_not_open_does_nothing() -> None:
    stage = running(PAUSE).server_closes(1006).do(DropSocket())
    assert stage.aborted == []


def test_dropped_socket_is_aborted_without_a_close_frame() -> None:
    stage = running(PAUSE).do(DropSocket())
    assert (stage.aborted, stage.closed) == ([1], [])
    assert reconnected(stage).last()["type"] == "session:reconnect"


def test_dropped_socket_with_code_1000_makes_the_call_deaf() -> None:
    stage = running(PAUSE).do(DropSocket(1000)).advance(60)
    assert len(stage.opened) == 1


def test_outbound_reconnect_before_the_answer_has_no_data() -> None:
    """Section 2.6.1: nothing was saved yet."""
    stage = Stage(Script(direction="outbound", answer=Dial(ring_s=10))).start().server_closes(1006).advance(0.5)
    assert stage.last("session:reconnect")["data"] == {}


def test_outbound_call_whose_first_ack_never_came_becomes_a_zombie_at_a_drop() -> None:
    """The initial marker stands until any ack comes (2.3), so the reconnect takes the path of 2.6.3."""
    stage = Stage(Script(direction="outbound")).start().advance(10).server_closes(1006).advance(0.5)
    stage.ack(stage.last("session:reconnect")).do(SendHook("/count")).advance(1)
    assert stage.sent("verb:hook") == []
    assert "late_ack" in stage.anomalies()

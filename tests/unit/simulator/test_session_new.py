"""How a call begins: session:new, its ack, the statuses, the command gate (PROTOCOL.md 2.4, 2.10)."""

from typing import Any

import pytest

from jambonz_simulator.core.effects import Failure
from jambonz_simulator.core.script import Dial, Script, Wait
from tests.unit.simulator.stage import GATHER, HELLO, PAUSE, Stage, running


def test_inbound_call_begins_with_session_new_and_statuses_follow_its_ack() -> None:
    """Section 2.10: trying comes right after the ack, in-progress with the first verb that needs media."""
    stage = Stage().start()
    assert stage.kinds() == ["session:new"]
    stage.ack(stage.last(), HELLO).advance(0.01)
    assert stage.kinds() == ["session:new", "call:status", "call:status"]
    assert stage.statuses() == ["trying", "in-progress"]


def test_inbound_session_new_carries_the_sip_message_verbatim_and_the_top_level_call_sid() -> None:
    """Sections 2.1 and 2.4: header names keep their case, all other keys are snake_case."""
    script = Script(env_vars={"crmUrl": "x"}, sip_headers={"X-Tenant-Id": "7"})
    frame = Stage(script).start().last("session:new")
    assert frame["call_sid"] == frame["data"]["call_sid"]
    assert frame["data"]["sip"]["headers"]["X-Tenant-Id"] == "7"
    assert frame["data"]["env_vars"] == {"crmUrl": "x"}
    assert (frame["data"]["direction"], frame["data"]["call_status"]) == ("inbound", "trying")
    assert "hook" not in frame
    assert frame["b3"].endswith("-1")


def test_opening_offers_url_without_hash_and_the_handshake_limit() -> None:
    """Sections 1.1 and 1.5: path and query as provisioned, 1.5 s for the 101."""
    stage = Stage(url="ws://u:p%40@app.test/ivr?t=1#rc=1").start()
    assert (stage.opened[0].url, stage.opened[0].credentials) == ("ws://app.test/ivr?t=1", ("u", "p@"))
    assert stage.opened[0].within_s == 1.5


def test_configured_credentials_are_used_when_the_url_has_none() -> None:
    assert Stage(credentials=("a", "b")).start().opened[0].credentials == ("a", "b")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(None, "malformed application", id="no_data"),
        pytest.param({"verb": "say"}, "malformed application", id="no_array"),
        pytest.param([], "no application provided", id="empty"),
        pytest.param([{"verb": "agent"}], "invalid instruction: 'agent'", id="unknown_verb"),
        pytest.param([{"verb": "play"}], "play: missing value for 'url'", id="missing_property"),
        pytest.param([{"verb": "dial", "target": [], "codecs": {}}], "unknown property 'codecs'", id="newer_property"),
    ],
)
def test_unusable_first_ack_rejects_the_call_with_480_and_closes_1001(data: Any, reason: str) -> None:
    """Section 2.4: the caller hears 480, and no call:status is ever sent."""
    stage = Stage().start()
    stage.ack(stage.last(), data)
    assert stage.closed == [(1, 1001)]
    assert stage.outcome == "rejected"
    assert stage.result is not None
    assert stage.result.outcome.sip_status == 480
    assert reason in stage.result.outcome.reason
    assert stage.kinds() == ["session:new"]


def test_first_ack_after_5_s_is_too_late() -> None:
    """Sections 2.3 and 2.4: X-Reason is `unknown`, as the error is a string."""
    stage = Stage().start().advance(4.99)
    assert stage.anomalies() == []
    stage.advance(0.02)
    assert stage.outcome == "rejected"
    assert stage.anomalies() == ["deadline_missed", "call_rejected"]
    assert stage.call.result is not None
    assert stage.call.result.deadline_misses == 1


def test_command_right_behind_the_first_ack_is_lost() -> None:
    """Section 2.4, pitfall 11: the call session, which listens for commands, is built after the ack."""
    stage = Stage().start()
    stage.ack(stage.last(), HELLO).command("redirect", GATHER)
    stage.advance(1)
    assert stage.verdicts() == [("redirect", "lost")]
    assert stage.anomalies() == ["command_lost"]
    assert stage.verb is None


def test_command_before_the_first_ack_is_lost() -> None:
    stage = Stage().start().command("redirect", GATHER)
    assert stage.verdicts() == [("redirect", "lost")]


def test_command_after_the_first_status_is_followed() -> None:
    stage = running(PAUSE).command("redirect", GATHER)
    assert stage.verdicts() == [("redirect", "accepted")]
    assert stage.verb == "gather"


def test_outbound_statuses_come_before_session_new_and_without_top_level_call_sid() -> None:
    """Sections 2.1 and 6.3."""
    stage = Stage(Script(direction="outbound", tag={"jobId": 7})).start().advance(2)
    assert stage.kinds() == ["call:status", "call:status", "call:status", "session:new"]
    assert stage.statuses() == ["trying", "ringing", "in-progress"]
    assert all("call_sid" not in frame for frame in stage.sent("call:status"))
    new = stage.last("session:new")
    assert new["call_sid"] == new["data"]["call_sid"]
    assert new["data"]["customerData"] == {"jobId": 7}
    assert "sip" not in new["data"]


def test_outbound_environment_variables_come_with_session_new() -> None:
    stage = Stage(Script(direction="outbound", env_vars={"A": 1})).start().advance(2)
    assert stage.last("session:new")["data"]["env_vars"] == {"A": 1}


def test_outbound_first_ack_replaces_the_application() -> None:
    stage = Stage(Script(direction="outbound")).start().advance(2)
    stage.ack(stage.last("session:new"), GATHER)
    assert stage.verb == "gather"


@pytest.mark.parametrize("data", [None, [], [{"verb": "nonsense"}]], ids=["missing", "empty", "invalid"])
def test_outbound_call_without_an_app_stays_up_and_waits_for_commands(data: Any) -> None:
    """Section 2.4: nobody hangs up; a later redirect works."""
    stage = Stage(Script(direction="outbound")).start().advance(2)
    stage.ack(stage.last("session:new"), data).advance(60)
    assert stage.result is None
    assert stage.command("redirect", GATHER).verb == "gather"


def test_outbound_first_ack_that_never_comes_leaves_the_call_up_in_silence() -> None:
    """Pitfall 40."""
    stage = Stage(Script(direction="outbound")).start().advance(60)
    assert stage.result is None
    assert stage.anomalies() == ["deadline_missed"]


@pytest.mark.parametrize(("end", "code"), [("busy", 486), ("no-answer", 487), ("failed", 503)])
def test_failed_outbound_call_has_no_session_new_and_closes_after_5_s(end: Any, code: int) -> None:
    """Section 2.10."""
    stage = Stage(Script(direction="outbound", answer=Dial(end=end))).start().advance(2)
    assert stage.statuses() == ["trying", "ringing", end]
    assert stage.closed == []
    stage.advance(5)
    assert stage.closed == [(1, 1000)]
    assert stage.outcome == "unanswered"
    assert stage.result is not None
    assert stage.result.outcome.sip_status == code
    assert stage.result.is_good


def test_callee_who_hangs_up_while_it_rings_declines() -> None:
    """Section 2.10: busy (603), and no session:new."""
    stage = Stage(Script(direction="outbound", answer=Dial(ring_s=10))).start().advance(1).hang_up().advance(20)
    assert stage.statuses() == ["trying", "ringing", "busy"]
    assert stage.sent("session:new") == []
    assert stage.result is not None
    assert (stage.outcome, stage.result.outcome.sip_status) == ("unanswered", 603)


def test_outbound_call_whose_reconnect_fails_while_it_rings_is_cancelled() -> None:
    """Section 2.6.2."""
    stage = Stage(Script(direction="outbound", answer=Dial(ring_s=20))).start().advance(1)
    stage.server_closes(1006).advance(30)
    assert (stage.statuses(), stage.sent("session:new")) == (["trying", "ringing"], [])
    assert stage.outcome == "reconnect_failed"


def test_caller_who_cancels_before_the_first_ack_is_told_behind_it() -> None:
    """inbound-call-session.js, constructor: there is no session before, and nobody is to blame."""
    stage = Stage().start().hang_up().hang_up().advance(0.5)
    assert (stage.kinds(), stage.closed) == (["session:new"], [])
    stage.ack(stage.last("session:new"), HELLO).advance(0.1)
    assert stage.statuses() == ["no-answer", "trying"]
    assert stage.sent("call:status")[0]["data"]["sip_status"] == 487
    assert (stage.closed, stage.outcome, stage.anomalies()) == ([(1, 1000)], "unanswered", [])
    assert stage.result is not None
    assert stage.result.outcome.sip_status == 487


@pytest.mark.parametrize("data", [[], [{"verb": "nonsense"}]], ids=["empty", "invalid"])
def test_unusable_ack_of_a_cancelled_call_rejects_nobody(data: Any) -> None:
    stage = Stage().start().hang_up()
    stage.ack(stage.last("session:new"), data)
    assert (stage.closed, stage.outcome, stage.anomalies()) == ([(1, 1001)], "unanswered", [])


def test_first_ack_of_a_cancelled_call_has_its_deadline_all_the_same() -> None:
    stage = Stage().start().hang_up().advance(5.1)
    assert (stage.closed, stage.outcome) == ([(1, 1001)], "unanswered")
    assert stage.anomalies() == ["deadline_missed"]


def test_cancelled_call_does_not_wait_for_ever_for_a_reconnect() -> None:
    """Section 2.6.3: in place of session:new that has no deadline."""
    stage = Stage().start().server_closes(1006).hang_up().advance(5.4)
    assert stage.result is None
    assert stage.advance(0.2).outcome == "zombie"


def test_refused_connection_is_retried_for_13_5_s_then_the_call_fails() -> None:
    """Section 1.2: delays 0.5, 1, 2, 4, 6 s, six attempts with the default options."""
    stage = Stage()
    stage.failure = Failure("refused")
    stage.start().advance(13.4)
    assert len(stage.opened) == 5
    stage.advance(0.2)
    assert len(stage.opened) == 6
    assert stage.outcome == "failed"
    assert stage.anomalies() == ["connect_failed"]


@pytest.mark.parametrize(
    ("url", "failure", "attempts"),
    [
        pytest.param("ws://a.test", Failure("http", 503), 1, id="5xx_fails_at_once"),
        pytest.param("ws://a.test#rp=ct,5xx", Failure("http", 503), 6, id="5xx_by_policy"),
        pytest.param("ws://a.test#rp=4xx", Failure("http", 503), 1, id="4xx_is_not_5xx"),
        pytest.param("ws://a.test#rp=rt", Failure("handshake_timeout"), 1, id="rt_matches_no_slow_accept"),
        pytest.param("ws://a.test#rp=all", Failure("no_subprotocol"), 6, id="all_matches_everything"),
        pytest.param("ws://a.test#rc=1", Failure("reset"), 2, id="rc_limits_attempts"),
        pytest.param("ws://a.test#rc=0", Failure("reset"), 6, id="rc_0_means_5"),
        pytest.param("ws://a.test#rc=x", Failure("reset"), 6, id="rc_nonsense_means_5"),
    ],
)
def test_first_connect_follows_the_retry_policy(url: str, failure: Failure, attempts: int) -> None:
    """Sections 1.2 and 1.5."""
    stage = Stage(url=url)
    stage.failure = failure
    stage.start().advance(60)
    assert len(stage.opened) == attempts


def test_outbound_call_connects_again_for_each_message_and_is_not_hung_up() -> None:
    """Section 1.2: the first status is rejected, later messages start the loop again."""
    stage = Stage(Script(direction="outbound", steps=(Wait(3600),)))
    stage.failure = Failure("handshake_timeout")
    stage.start().advance(60)
    assert len(stage.opened) > 1
    assert stage.result is None
    assert "connect_failed" in stage.anomalies()


def test_url_that_is_no_websocket_is_refused() -> None:
    with pytest.raises(ValueError, match="expected ws://host/path"):
        Stage(url="http://app.test/")


def test_news_of_a_socket_that_is_not_awaited_changes_nothing() -> None:
    """A shell may be late; the state machine must not mind."""
    stage = Stage().start()
    stage.carry_out(stage.call.socket_opened(1, stage.now_s))
    stage.carry_out(stage.call.socket_failed(1, Failure("reset"), stage.now_s))
    stage.carry_out(stage.call.socket_closed(9, 1006, stage.now_s))
    assert stage.kinds() == ["session:new"]

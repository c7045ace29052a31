"""Verbs that hand over or talk SIP (PROTOCOL.md 2.5, 2.8)."""

from typing import Any

import pytest

from jambonz_simulator.core.effects import Failure
from tests.unit.simulator.stage import GATHER, HELLO, PAUSE, running


def test_redirect_verb_asks_the_path_on_the_same_socket() -> None:
    """Section 2.5."""
    stage = running([{"verb": "redirect", "actionHook": "/next"}])
    frame = stage.last("session:redirect")
    assert (frame["hook"], frame["call_sid"]) == ("/next", stage.call.info.call_sid)
    assert stage.ack(frame, GATHER).verb == "gather"


def test_redirect_verb_without_verbs_goes_on() -> None:
    stage = running([{"verb": "redirect", "actionHook": "/next"}, *PAUSE])
    assert stage.ack(stage.last("session:redirect"), []).verb == "pause"


@pytest.mark.parametrize("verbs", [None, [{"verb": "nonsense"}]], ids=["late", "invalid"])
def test_redirect_verb_without_a_usable_ack_ends_the_call(verbs: Any) -> None:
    """Section 2.5, pitfall 7."""
    stage = running([{"verb": "answer"}, {"verb": "redirect", "actionHook": "/next"}])
    if verbs is None:
        stage.advance(5)
    else:
        stage.ack(stage.last("session:redirect"), verbs)
    assert stage.advance(1).outcome == "completed"
    assert stage.statuses()[-1] == "completed"


@pytest.mark.parametrize("url", ["ws://", "ws://a.test:99999/x", "wss://a..test/"])
def test_redirect_verb_to_a_url_that_cannot_be_ends_the_call(url: str) -> None:
    """As one to a server that cannot be reached: the exception leaves the loop of the session."""
    stage = running([{"verb": "redirect", "actionHook": url}, *PAUSE]).advance(1)
    assert (stage.sent("session:redirect"), len(stage.opened)) == ([], 1)
    assert (stage.closed, stage.anomalies()) == ([(1, 1000)], ["connect_failed"])


def test_status_hook_that_cannot_be_leaves_the_statuses_where_they_are() -> None:
    """tasks/redirect.js catches the error."""
    stage = running([{"verb": "redirect", "actionHook": "ws://b.test/", "statusHook": "ws://"}])
    stage.ack(stage.last("session:redirect"), HELLO).advance(0.1)
    assert [number for number, frame in stage.frames if frame["type"] == "call:status"] == [1, 1]


def test_absolute_redirect_opens_another_socket_without_call_sid_and_credentials() -> None:
    """Section 2.5: the old socket stays open and keeps getting call:status."""
    stage = running([{"verb": "redirect", "actionHook": "ws://b.test/app?cid=1"}], credentials=("u", "p"))
    assert (stage.opened[1].url, stage.opened[1].credentials) == ("ws://b.test/app?cid=1", None)
    frame = stage.last("session:redirect")
    assert frame["hook"] == "ws://b.test/app?cid=1"
    assert "call_sid" not in frame
    stage.ack(frame, PAUSE)
    assert stage.command("redirect", [], connection=1).verdicts() == [("redirect", "ignored")]
    stage.hang_up().advance(1)
    assert stage.frames[-1][0] == 1
    assert sorted(stage.closed) == [(1, 1000), (2, 1000)]


def test_reconnect_of_a_redirect_socket_has_no_data() -> None:
    """Section 2.5."""
    stage = running([{"verb": "redirect", "actionHook": "ws://b.test/"}])
    stage.ack(stage.last("session:redirect"), PAUSE).server_closes(1006, 2).advance(0.5)
    assert stage.last("session:reconnect")["data"] == {}


def test_socket_that_a_redirect_has_left_is_not_opened_again_but_to_tell_a_status() -> None:
    """call-session.js, handover: the old requestor loses its listeners, also that for a lost socket."""
    stage = running([{"verb": "redirect", "actionHook": "ws://b.test/"}])
    stage.ack(stage.last("session:redirect"), PAUSE).server_closes(1012, 1).advance(10)
    assert len(stage.opened) == 2
    stage.hang_up().advance(1)
    assert (len(stage.opened), stage.frames[-1][1]["data"]["call_status"]) == (3, "completed")


@pytest.mark.parametrize(("status_hook", "connection"), [("/s", 2), ("ws://c.test/s", 3)])
def test_status_hook_of_a_redirect_moves_the_statuses(status_hook: str, connection: int) -> None:
    """Section 2.5: an absolute one gets a socket of its own."""
    verb = {"verb": "redirect", "actionHook": "ws://b.test/", "statusHook": status_hook}
    stage = running([verb])
    stage.ack(stage.last("session:redirect"), HELLO, connection=2)
    assert [number for number, frame in stage.frames if frame["type"] == "call:status"] == [1, connection]
    assert stage.hang_up().advance(1).outcome == "completed"


def test_listen_runs_until_killed_and_then_sends_its_hook() -> None:
    """Recording `call-listen`: the hook comes after the final status."""
    stage = running([{"verb": "listen", "url": "ws://x/", "actionHook": "/done"}]).advance(7)
    stage.hang_up()
    assert [frame["type"] for frame in stage.sent()][-2:] == ["call:status", "verb:hook"]
    assert stage.last()["data"]["dial_call_duration"] == 7
    stage.ack(stage.last(), HELLO).advance(1)
    assert stage.outcome == "completed"


def test_verbs_of_a_replaced_listen_replace_again() -> None:
    """tasks/listen.js, exec."""
    stage = running([{"verb": "listen", "url": "ws://x/", "actionHook": "/done"}]).command("redirect", PAUSE)
    assert stage.verb == "listen"
    assert stage.ack(stage.last("verb:hook"), HELLO).verb == "say"


def test_listen_ends_at_its_limit() -> None:
    stage = running([{"verb": "listen", "url": "ws://x/", "maxLength": 3, "actionHook": "/done"}, *PAUSE]).advance(3)
    assert stage.ack(stage.last("verb:hook"), []).verb == "pause"


def test_last_words_without_a_hook_are_not_spoken() -> None:
    stage = running([{"verb": "listen", "url": "ws://x/"}]).command("redirect", PAUSE)
    assert stage.sent("verb:hook") == []


def test_sip_refer_tells_progress_and_end() -> None:
    stage = running([{"verb": "sip:refer", "referTo": "x", "eventHook": "/e", "actionHook": "/a"}]).advance(1)
    assert stage.last("verb:hook", "/e")["data"]["event"] == "transfer-status"
    assert stage.last("verb:hook", "/a")["data"]["refer_status"] == 202


def test_sip_refer_needs_no_event_hook() -> None:
    assert running([{"verb": "sip:refer", "referTo": "x"}, *PAUSE]).advance(1).verb == "pause"


def test_sip_request_whose_hook_fails_ends_the_call() -> None:
    """Section 2.8."""
    stage = running([{"verb": "sip:request", "method": "INFO", "actionHook": "/a"}]).advance(6)
    assert stage.outcome == "completed"
    assert running([{"verb": "sip:request", "method": "INFO"}, *PAUSE]).advance(1).verb == "pause"


def test_message_does_not_await_its_hook() -> None:
    stage = running([{"verb": "message", "to": "1", "from": "2", "actionHook": "/m"}, *PAUSE]).advance(1)
    assert stage.last("verb:hook")["data"]["message_status"] == "success"
    assert stage.verb == "pause"
    assert running([{"verb": "message", "to": "1", "from": "2"}, *PAUSE]).advance(1).verb == "pause"


def test_message_to_an_application_that_is_gone_is_given_up() -> None:
    """A dead first connect of another socket is told to the verb, and ends the call."""
    stage = running([{"verb": "pause", "length": 1}, {"verb": "redirect", "actionHook": "ws://b.test/#rp=ct"}])
    stage.failure = Failure("dns")
    assert stage.advance(2).outcome == "completed"

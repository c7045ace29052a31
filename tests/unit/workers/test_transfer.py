"""``call.transfer``: the verb for jambonz, the consent in the call's state, and what is refused."""

import time
from typing import Any

import orjson
import pytest

from jambonz_shared.errors import CallLost, CallTransferred
from jambonz_shared.redis.scripts import CallRecord
from jambonz_workers import App, Call, Event
from jambonz_workers.claimed_call import SINCE, ClaimedCall
from jambonz_workers.state import CallState
from jambonz_workers.testing import AppClient
from jambonz_workers.transfer import CONSENT_S, FIELD, consent_to, consented_app, redirect_verb

URL = "wss://voice.example.net/sales"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def reception() -> App:
    app = App("reception")

    @app.hook("/hand")
    async def hand(call: Call, event: Event) -> object:
        call.state["seen"] = True
        verb = call.transfer(event.data["app"], event.data.get("url", URL), state=event.data.get("state"))
        if event.data.get("fails"):
            raise LookupError("after all")
        return verb

    return app


async def handed(client: AppClient, **data: Any) -> list[dict[str, Any]] | None:
    return (await client.hook("/hand", app="sales", **data)).verbs


async def test_transfer_answers_with_a_redirect_and_saves_the_consent_with_it() -> None:
    """One commit: jambonz is not sent away before the other app may take the call."""
    async with AppClient(reception(), call_sid="c 1") as client:
        await client.session_new(env_vars={"TOKEN": "s"}, account_sid="ac")
        assert await handed(client, state={"a": [1]}) == [{"verb": "redirect", "actionHook": URL + "?call_sid=c%201"}]
        assert client.state == {"seen": True}
        consent = client.call.state.own(FIELD)
        assert (consent["app"], consent["state"]) == ("sales", {"a": "[1]"})
        told = orjson.loads(consent["facts"])
        assert told["account_sid"] == "ac"
        assert "env_vars" not in told


async def test_consent_of_a_handler_that_fails_was_never_given() -> None:
    """Like everything else it did."""
    async with AppClient(reception(), raises=False) as client:
        assert await handed(client, fails=True) == []
        assert consented_app(client.call.state, now_ms()) == ""


async def test_next_transfer_withdraws_the_consent_before() -> None:
    """There is one; a socket that never came cannot take the call any more."""
    async with AppClient(reception()) as client:
        await handed(client, state={"a": 1})
        await client.hook("/hand", app="other")
        consent = client.call.state.own(FIELD)
        assert (consent["app"], consent["state"]) == ("other", {})


async def test_background_work_hands_over_too() -> None:
    """Its consent is saved before the redirect goes out."""
    async with AppClient(reception()) as client:
        await client.call.redirect(client.call.transfer("sales", URL))
        assert consented_app(client.call.state, now_ms()) == "sales"
        assert client.commands[0]["data"][0]["verb"] == "redirect"


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        pytest.param({"app": "reception"}, ValueError, "already", id="own_app"),
        pytest.param({"app": "no app"}, ValueError, "app name", id="no_name"),
        pytest.param({"app": "sales", "url": "/sales"}, ValueError, "relative", id="relative_url"),
        pytest.param({"app": "sales", "url": "https://x/y"}, ValueError, "https", id="http"),
        pytest.param({"app": "sales", "url": "wss:///y"}, ValueError, "wss", id="no_host"),
        pytest.param({"app": "sales", "url": URL + "?call_sid=x"}, ValueError, "another call", id="another_call"),
        pytest.param({"app": "sales", "state": {"@timers": 1}}, ValueError, "cluster's own", id="reserved_field"),
        pytest.param({"app": "sales", "state": {"x": object()}}, TypeError, "JSON", id="no_json"),
    ],
)
async def test_what_cannot_be_is_refused_at_once(data: dict[str, Any], error: type[Exception], text: str) -> None:
    """Nothing is changed by it."""
    async with AppClient(reception()) as client:
        with pytest.raises(error, match=text):
            client.call.transfer(data["app"], data.get("url", URL), state=data.get("state"))
        assert consented_app(client.call.state, now_ms()) == ""


async def test_a_leg_without_a_socket_cannot_be_transferred() -> None:
    """The redirect verb would move its parent."""
    async with AppClient(reception(), call_sid="b") as client:
        await client.send("call:status", {"parent_call_sid": "a", "call_status": "in-progress"})
        with pytest.raises(RuntimeError, match="'a'"):
            client.call.transfer("sales", URL)


def test_url_keeps_its_login_query_and_hash_options() -> None:
    """The login is the only one jambonz sends there (pitfall 37); ids of the application stay, too."""
    url = "wss://u:p@voice.example.net:3000/sales?x=1&y=%20#rc=3"
    assert redirect_verb(url, "c1")["actionHook"] == (
        "wss://u:p@voice.example.net:3000/sales?x=1&y=%20&call_sid=c1#rc=3"
    )
    named = "ws://x/sales?call_sid=c1&x=1"
    assert redirect_verb(named, "c1")["actionHook"] == named


def test_consent_ends_by_itself() -> None:
    """By the clock of Redis (attach.lua)."""
    state = CallState()
    consent_to(state, "sales", facts={}, state={}, now_ms=1_000)
    assert state.own(FIELD)["until_ms"] == 1_000 + CONSENT_S * 1000


@pytest.mark.parametrize(
    ("after_ms", "app"),
    [
        pytest.param(0, "sales", id="just_given"),
        pytest.param(CONSENT_S * 1000, "sales", id="ended"),
        pytest.param(CONSENT_S * 1000 + 59_999, "sales", id="redis_clock_may_be_behind"),
        pytest.param(CONSENT_S * 1000 + 60_000, "", id="nobody_has_come"),
    ],
)
def test_consent_that_ended_long_ago_was_not_used(after_ms: float, app: str) -> None:
    """Hours later the call may be lost for another reason, which is worth a warning."""
    state = CallState()
    assert consented_app(state, 1_000) == ""
    consent_to(state, "sales", facts={}, state={}, now_ms=1_000)
    assert consented_app(state, 1_000 + round(after_ms)) == app


def test_transferred_is_a_way_of_being_lost() -> None:
    """Whoever stops its work for ``CallLost`` stops here, too; the text says what happened."""
    error = CallTransferred("c1", "", "sales")
    assert isinstance(error, CallLost)
    assert (error.call_sid, error.owner, error.app) == ("c1", "", "sales")
    assert str(error) == "call 'c1' was handed to the app 'sales'; this app may no longer act on it"


def test_claim_tells_whose_call_it_is() -> None:
    """The app and path that the call has now, whoever had it before."""
    record = CallRecord(app="sales", path="/sales", facts=b'{"from":"1"}', state={"given": b"1"}, committed={1: 2})
    claimed = ClaimedCall.of(7, record)
    assert claimed == ClaimedCall(7, "sales", "/sales", "", {"from": "1"}, {"given": b"1"}, {1: 2})


@pytest.mark.parametrize(
    ("committed", "since", "has_begun"),
    [
        pytest.param({}, None, False, id="nothing"),
        pytest.param({1: 1}, None, True, id="never_transferred"),
        pytest.param({-7: 1}, None, True, id="background_work"),
        pytest.param({1: 9, 2: 4, -7: 3}, (3, 7), False, id="other_app"),
        pytest.param({1: 9, 3: 1}, (3, 7), True, id="first_event_here"),
        pytest.param({1: 9, 4: 1}, (3, 7), True, id="event_of_a_later_socket"),
        pytest.param({-7: 3, -9: 1}, (3, 7), True, id="background_work_here"),
        pytest.param({1: 9, 3: 5, 4: 2, -9: 1}, (5, 12), False, id="there_and_back"),
    ],
)
def test_call_has_begun_once_its_own_app_has_committed_something(
    committed: dict[int, int], since: tuple[int, int] | None, has_begun: bool
) -> None:
    """Otherwise nothing is to be taken over: a takeover told before ``session:redirect`` would be a double start."""
    state = {} if since is None else {SINCE: b'{"epoch":%d,"fence":%d}' % since}
    assert ClaimedCall(20, state=state, committed=committed).has_begun is has_begun

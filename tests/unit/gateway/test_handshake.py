"""What a request on the websocket port is answered with."""

import orjson
import pytest

from jambonz_gateway.apps import Apps, KnownApp
from jambonz_gateway.handshake import Answer, Decision, UnknownPath, Welcome, decide, not_found
from jambonz_gateway.logins import Denied, Granted
from jambonz_gateway.owed import path_pattern

IVR = KnownApp("ivr", patterns=(path_pattern("/ivr"),), env={"GREETING": {"type": "string"}})
UPGRADE = {"upgrade": "websocket", "sec-websocket-protocol": "ws.jambonz.org"}
ANYBODY = Granted()


def asked(
    target: str = "/ivr",
    *,
    method: str = "GET",
    without: str = "",
    login: Granted | Denied = ANYBODY,
    **headers: str,
) -> Decision:
    given = UPGRADE | {name.replace("_", "-"): value for name, value in headers.items()}
    given.pop(without, None)
    return decide(method, target, given, apps=Apps([IVR]), login=login)


def status_of(decision: Decision) -> int:
    assert isinstance(decision, Answer)
    return decision.status


def test_jambonz_is_welcome_at_the_path_of_an_app() -> None:
    """The normal case: the app and the path as jambonz asked for it."""
    assert asked("/ivr?tenant=42") == Welcome(IVR, "/ivr", "")


def test_url_may_name_the_call() -> None:
    """Sockets of a redirect verb may never name it themselves (PROTOCOL.md 2.5)."""
    assert asked("/ivr?call_sid=call-a&x=1") == Welcome(IVR, "/ivr", "call-a")


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("call_sid=call-a/adulting", id="parent_of_an_adulting_leg"),
        pytest.param("call_sid=a%7Db", id="brace"),
        pytest.param("call_sid=a%1Fb", id="separator_of_envelopes"),
        pytest.param("call_sid=a%0Ab", id="line_feed"),
        pytest.param("call_sid=" + "a" * 129, id="too_long"),
        pytest.param("call_sid=", id="empty"),
    ],
)
def test_call_sid_in_the_url_that_cannot_be_one_is_ignored(query: str) -> None:
    """It would become part of Redis keys (P9); adulting appends to the query (PROTOCOL.md 2.7), and is another Call."""
    assert asked(f"/ivr?{query}") == Welcome(IVR, "/ivr", "")


def test_path_with_two_slashes_is_a_path() -> None:
    """No host stands in a request target, whatever urlsplit thinks."""
    assert asked("//ivr/x") == UnknownPath("//ivr/x")


def test_query_with_too_many_fields_is_refused() -> None:
    """P9: parsing them is work for nobody."""
    assert status_of(asked("/ivr?" + "&".join(f"a{n}=1" for n in range(51)))) == 400


@pytest.mark.parametrize("path", ["/\x1b[2Jivr", "/ivr\x00", "/a\tb", "/\xff", "/\x7f"])
def test_path_with_characters_that_no_url_has_is_refused(path: str) -> None:
    """It would go on to logs and terminals."""
    assert status_of(asked(path)) == 400


def test_unknown_path_is_not_answered_yet() -> None:
    """The manifest may be a second old: the caller asks Redis first."""
    assert asked("/other") == UnknownPath("/other")


def test_not_found_does_not_repeat_the_path() -> None:
    """Paths may hold secrets, and answers are logged elsewhere."""
    answer = not_found("/secret")
    assert answer.status == 404
    assert b"secret" not in answer.body


def test_options_tells_the_environment_variables_without_a_password() -> None:
    """The portal asks without credentials (PROTOCOL.md 8.1)."""
    answer = asked(method="OPTIONS", login=Denied.WRONG)
    assert isinstance(answer, Answer)
    assert (answer.status, answer.content_type) == (200, "application/json")
    assert orjson.loads(answer.body) == {"GREETING": {"type": "string"}}


def test_options_answers_the_preflight_of_a_browser() -> None:
    """The portal's page asks from another origin (PROTOCOL.md 8.1)."""
    answer = asked(method="OPTIONS")
    assert isinstance(answer, Answer)
    assert answer.headers is not None
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_options_of_an_unknown_path_asks_redis_first_too() -> None:
    """An app that has just been deployed."""
    assert asked("/other", method="OPTIONS") == UnknownPath("/other")


def test_who_is_denied_hears_what_to_do() -> None:
    """The upgrade is not signed: this is what keeps strangers out (PROTOCOL.md 8.2)."""
    answer = asked(login=Denied.WRONG)
    assert isinstance(answer, Answer)
    assert answer.status == 401
    assert answer.headers is not None
    assert "WWW-Authenticate" in answer.headers


def test_who_guesses_too_often_is_told_so() -> None:
    """An operator who sees 429 knows that the secret was not even looked at."""
    assert status_of(asked(login=Denied.TOO_OFTEN)) == 429


def test_stranger_does_not_learn_which_paths_exist() -> None:
    """Without the password every path is 401."""
    assert status_of(asked("/other", login=Denied.WRONG)) == 401


def test_path_of_another_app_is_an_unknown_one() -> None:
    """Credentials of one account do not even tell what others there are."""
    assert asked("/ivr", login=Granted(frozenset({"shop"}))) == UnknownPath("/ivr")
    assert isinstance(asked("/ivr", login=Granted(frozenset({"shop", "ivr"}))), Welcome)


def test_plain_request_is_told_to_upgrade() -> None:
    """Somebody opened the URL in a browser."""
    assert status_of(asked(without="upgrade")) == 426


@pytest.mark.parametrize("offered", ["", "other", "ws.jambonz.org.evil"])
def test_client_without_the_subprotocol_is_refused(offered: str) -> None:
    """It is not jambonz, which aborts without it (PROTOCOL.md 1.1, pitfall 4)."""
    assert status_of(asked(sec_websocket_protocol=offered)) == 400


def test_subprotocol_may_be_one_of_several() -> None:
    """RFC 6455 lets a client offer a list."""
    assert isinstance(asked(sec_websocket_protocol="other, ws.jambonz.org"), Welcome)


def test_app_without_variables_answers_that_it_has_none() -> None:
    """The portal takes an empty object for a bad one (PROTOCOL.md 8.1)."""
    plain = KnownApp("ivr", patterns=(path_pattern("/ivr"),))
    answer = decide("OPTIONS", "/ivr", {}, apps=Apps([plain]), login=Denied.WRONG)
    assert status_of(answer) == 204

"""What a request on the websocket port is answered with."""

import base64

import orjson
import pytest

from jambonz_gateway.apps import Apps, KnownApp
from jambonz_gateway.handshake import Answer, Credentials, Decision, UnknownPath, Welcome, decide, not_found
from jambonz_gateway.owed import path_pattern

IVR = KnownApp("ivr", patterns=(path_pattern("/ivr"),), env={"GREETING": {"type": "string"}})
UPGRADE = {"Upgrade": "websocket", "Sec-WebSocket-Protocol": "ws.jambonz.org"}
SECRET = Credentials("jambonz", "s3cret:with colon")


def basic(user_and_password: str) -> str:
    return "Basic " + base64.b64encode(user_and_password.encode()).decode()


def asked(
    target: str = "/ivr",
    *,
    method: str = "GET",
    without: str = "",
    credentials: Credentials | None = None,
    **headers: str,
) -> Decision:
    given = UPGRADE | {name.replace("_", "-"): value for name, value in headers.items()}
    given.pop(without, None)
    return decide(method, target, given, apps=Apps([IVR]), credentials=credentials)


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
    answer = asked(method="OPTIONS", credentials=SECRET)
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


def test_right_credentials_open_the_door() -> None:
    """A password may hold colons; only the first one separates."""
    authorization = basic("jambonz:s3cret:with colon")
    assert isinstance(asked(credentials=SECRET, Authorization=authorization), Welcome)
    assert isinstance(asked(credentials=SECRET, Authorization=authorization.replace("Basic", "basic")), Welcome)


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param("", id="none"),
        pytest.param(basic("jambonz:wrong"), id="wrong_password"),
        pytest.param(basic("other:s3cret:with colon"), id="wrong_user"),
        pytest.param(basic("jambonz"), id="no_password"),
        pytest.param(basic("jambonz:s3cret:with colon").replace("Basic", "Bearer"), id="other_scheme"),
        pytest.param("Basic not-base64!", id="no_base64"),
        pytest.param("Basic", id="scheme_only"),
        pytest.param("Basic ümläut", id="not_ascii"),
    ],
)
def test_wrong_credentials_are_refused_in_the_handshake(authorization: str) -> None:
    """The upgrade is not signed: this is what keeps strangers out (PROTOCOL.md 8.2)."""
    answer = asked(credentials=SECRET, Authorization=authorization)
    assert isinstance(answer, Answer)
    assert answer.status == 401
    assert answer.headers is not None
    assert "WWW-Authenticate" in answer.headers


def test_stranger_does_not_learn_which_paths_exist() -> None:
    """Without the password every path is 401."""
    assert status_of(asked("/other", credentials=SECRET)) == 401


def test_plain_request_is_told_to_upgrade() -> None:
    """Somebody opened the URL in a browser."""
    assert status_of(asked(without="Upgrade")) == 426


@pytest.mark.parametrize("offered", ["", "other", "ws.jambonz.org.evil"])
def test_client_without_the_subprotocol_is_refused(offered: str) -> None:
    """It is not jambonz, which aborts without it (PROTOCOL.md 1.1, P4)."""
    assert status_of(asked(Sec_WebSocket_Protocol=offered)) == 400


def test_subprotocol_may_be_one_of_several() -> None:
    """RFC 6455 lets a client offer a list."""
    assert isinstance(asked(Sec_WebSocket_Protocol="other, ws.jambonz.org"), Welcome)


def test_app_without_variables_answers_that_it_has_none() -> None:
    """The portal takes an empty object for a bad one (PROTOCOL.md 8.1)."""
    plain = KnownApp("ivr", patterns=(path_pattern("/ivr"),))
    answer = decide("OPTIONS", "/ivr", {}, apps=Apps([plain]), credentials=None)
    assert status_of(answer) == 204

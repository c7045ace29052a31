"""What to answer to an HTTP request on the websocket port. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

import orjson

from jambonz_gateway.apps import Apps, KnownApp
from jambonz_gateway.logins import Denied, Granted
from jambonz_shared.wire import SUBPROTOCOL, is_call_sid

# The portal's page asks from another origin; the answer holds no secrets (PROTOCOL.md 8.1).
_CORS: Final = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, OPTIONS",
    "Access-Control-Allow-Headers": "*",
}
# Redirect-verb URLs of an application name the call like this, because those sockets may not (PROTOCOL.md 2.5).
_CALL_SID_QUERY: Final = "call_sid"
_QUERY_FIELDS_MAX: Final = 50
_TARGET: Final = re.compile(r"[!-~]*")


@dataclass(init=False, slots=True)
class Welcome:
    """Open the websocket for ``app``.

    Attributes:
        app: The app that owns the path.
        path: As requested, without query: workers match it.
        call_sid: From the query, or empty.
    """

    app: KnownApp
    path: str
    call_sid: str

    def __init__(self, app: KnownApp, path: str, call_sid: str) -> None:
        self.app = app
        self.path = path
        self.call_sid = call_sid


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer the request with plain HTTP and close."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] | None = None

    def encode(self) -> bytes:
        """Return the HTTP response; the connection ends with it."""
        phrase = HTTPStatus(self.status).phrase
        headers = {"Connection": "close", "Content-Length": str(len(self.body)), "Content-Type": self.content_type}
        lines = "".join(f"{name}: {value}\r\n" for name, value in {**headers, **(self.headers or {})}.items())
        return f"HTTP/1.1 {self.status} {phrase}\r\n{lines}\r\n".encode() + self.body


@dataclass(frozen=True, slots=True)
class UnknownPath:
    """No app takes the path. Ask Redis for newer manifests before answering 404."""

    path: str


Decision = Welcome | Answer | UnknownPath

_DENIALS: Final = {
    Denied.WRONG: Answer(
        401,
        b"Expected HTTP Basic credentials: set user and password of the application's webhook in jambonz.\n",
        headers={"WWW-Authenticate": 'Basic realm="jambonz-cluster"'},
    ),
    # jambonz tries neither again (PROTOCOL.md 1.2).
    Denied.TOO_OFTEN: Answer(429, b"Too many wrong credentials from this address; try again in a minute.\n"),
}


def decide(method: str, target: str, headers: Mapping[str, str], *, apps: Apps, login: Granted | Denied) -> Decision:
    """Return what to do with a request: its target has the query, its headers have names in lower case.

    ``OPTIONS`` needs no login: jambonz' portal sends none (PROTOCOL.md 8.1). A path of an app that the login does not
    open is an unknown one.
    """
    # RFC 9112, 3.2: no controls, no spaces. It goes to logs and to those who list calls.
    if not _TARGET.fullmatch(target):
        return Answer(400, b"Expected a path of printable ASCII characters; percent-encode others.\n")
    path, _, query_text = target.partition("?")
    try:
        query = parse_qs(query_text, max_num_fields=_QUERY_FIELDS_MAX) if query_text else {}
    except ValueError:
        return Answer(400, f"Expected a query of at most {_QUERY_FIELDS_MAX} fields.\n".encode())
    if method == "OPTIONS":
        app = apps.find(path)
        return _environment(app) if app else UnknownPath(path)
    if isinstance(login, Denied):
        return _DENIALS[login]
    if "websocket" not in headers.get("upgrade", "").lower():
        return Answer(426, b"This is a jambonz websocket: expected an upgrade.\n", headers={"Upgrade": "websocket"})
    offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
    if SUBPROTOCOL not in offered:
        return Answer(400, f"Expected the websocket subprotocol {SUBPROTOCOL}.\n".encode())
    app = apps.find(path, login.apps)
    if app is None:
        return UnknownPath(path)
    # One that is none is left out: behind an adulting leg's URL it is the parent's, with a text appended (2.7).
    call_sids = query.get(_CALL_SID_QUERY)
    return Welcome(app, path, call_sids[0] if call_sids and is_call_sid(call_sids[0]) else "")


def _environment(app: KnownApp) -> Answer:
    """Return the declared variables; the portal takes an empty object for a bad one, 204 for none (PROTOCOL.md 8.1)."""
    if not app.env:
        return Answer(204, b"", "application/json", _CORS)
    return Answer(200, orjson.dumps(app.env), "application/json", _CORS)


def not_found(path: str) -> Answer:
    """Return the answer to a path no app takes; only its length is told, it may hold secrets."""
    return Answer(404, f"No application takes this path of {len(path)} characters.\n".encode())

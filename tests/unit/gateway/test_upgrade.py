"""The usual handshake is read as the websockets core reads it, or not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from jambonz_gateway import core as cores
from jambonz_gateway.handshake import Answer
from jambonz_gateway.upgrade import Asked, split_head, switching, usual_upgrade

# As Node's ws sends it, behind jambonz' own headers (PROTOCOL.md 1.1).
LINES = [
    b"GET /ivr?tenant=42 HTTP/1.1",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Authorization: Basic dXNlcjpwYXNz",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    b"Sec-WebSocket-Protocol: ws.jambonz.org",
    b"Host: 127.0.0.1:3000",
]
REQUEST = b"\r\n".join(LINES) + b"\r\n\r\n"


# What attackers put into requests: ends of lines that are none, bodies, headers twice, targets of other forms, ...
ODD = [
    b"\r\n", b"\r\n ", b"\r\n\t", b"\n", b"\r", b"\0", b"\x0b", b"\x7f", b"\xff", b" ", b"\t", b":", b",", b"=", b"-",
    b"*", b"?", b"#", b"\r\n\r\n", b"\r\nContent-Length: 5", b"\r\nContent-Length: 0", b"\r\nHost: other",
    b"\r\nTransfer-Encoding: chunked", b"\r\nUpgrade: h2c", b"\r\nConnection: close", b"\r\nSec-WebSocket-Protocol: x",
    b"\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", b"\r\nSec-WebSocket-Version: 8", b"\r\nExpect: 100-continue",
    b"\r\nSec-WebSocket-Extensions: ;,=", b"GET /other HTTP/1.1\r\n", b"http://other", b"/../", b"%2e%2e/%0d%0a",
    b"\x89\x80" + bytes(4), b"x" * 9000, b"".join(b"\r\nh%d: x" % number for number in range(125)),
]  # fmt: skip
# Where they tell most: at the borders of lines, names and values.
BORDERS = [at for at in range(len(REQUEST) + 1) if not REQUEST[at - 1 : at + 1].isalnum()]


def core_answer(data: bytes) -> tuple[Request, dict[str, str]]:
    """Return the request as the core reads it, and the headers of its answer, which has to be 101."""
    core = ServerProtocol(subprotocols=[Subprotocol("ws.jambonz.org")])
    core.receive_data(data)
    [request] = core.events_received()
    assert isinstance(request, Request)
    response = core.accept(request)
    assert response.status_code == 101
    return request, {name: value for name, value in response.headers.raw_items() if name != "Date"}


def test_request_of_jambonz_is_usual() -> None:
    asked = usual_upgrade(REQUEST)
    assert asked is not None
    assert (asked.method, asked.target) == ("GET", "/ivr?tenant=42")
    assert asked.headers["authorization"] == "Basic dXNlcjpwYXNz"
    # The example of RFC 6455 1.3.
    assert asked.accept_key == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    head, *lines = switching(asked.accept_key).decode().removesuffix("\r\n\r\n").split("\r\n")
    assert head == "HTTP/1.1 101 Switching Protocols"
    assert dict(line.split(": ") for line in lines) == core_answer(REQUEST)[1]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(REQUEST[:-2], id="partial"),
        pytest.param(REQUEST + b"x", id="something_behind_it"),
        pytest.param(REQUEST.replace(b"GET", b"OPTIONS"), id="another_method"),
        pytest.param(REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"), id="another_version"),
        pytest.param(REQUEST.replace(b"\r\n", b"\n"), id="bare_line_feeds"),
        pytest.param(REQUEST.replace(b"/ivr", b"/iv r"), id="space_in_the_target"),
        pytest.param(REQUEST.replace(b"Host:", b"Host :"), id="space_behind_a_name"),
        pytest.param(REQUEST.replace(b"Host: ", b"Host: \xff"), id="not_ascii"),
        pytest.param(REQUEST.replace(b"Host: ", b"Host: x\r\n y"), id="folded"),
        pytest.param(REQUEST.replace(b"Host:", b"Upgrade:"), id="header_twice"),
        pytest.param(REQUEST.replace(b"Upgrade: websocket\r\n", b""), id="no_upgrade"),
        pytest.param(REQUEST.replace(b"Connection: Upgrade", b"Connection: keep-alive"), id="connection_stays"),
        pytest.param(REQUEST.replace(b": 13", b": 12"), id="another_websocket_version"),
        pytest.param(REQUEST.replace(b"ws.jambonz.org", b"audio.jambonz.org"), id="another_subprotocol"),
        pytest.param(REQUEST.replace(b"dGhl", b"dGh"), id="key_is_no_base64"),
        pytest.param(REQUEST.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZQ=="), id="short_key"),
        pytest.param(REQUEST.replace(b"Sec-WebSocket-Key", b"Key"), id="no_key"),
        pytest.param(REQUEST.replace(b"Host:", b"Content-Length:"), id="body"),
        pytest.param(REQUEST.replace(b"Host: ", b"Host: " + b"x" * 8192), id="too_long"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_any_other_request_is_left_to_the_core(data: bytes) -> None:
    assert usual_upgrade(data) is None


@given(st.integers(0, len(REQUEST)), st.integers(0, 12), st.binary(max_size=6), st.permutations(LINES[1:]))
def test_what_is_usual_the_core_takes_too(at: int, removed: int, added: bytes, lines: list[bytes]) -> None:
    """With any bytes of it changed, and its headers in any order."""
    request = b"\r\n".join([LINES[0], *lines]) + b"\r\n\r\n"
    data = request[:at] + added + request[at + removed :]
    asked = usual_upgrade(data)
    if asked is None:
        return
    request_of_core, answer = core_answer(data)
    assert (asked.method, asked.target) == (request_of_core.method, request_of_core.path)
    assert asked.headers == {name.lower(): value for name, value in request_of_core.headers.raw_items()}
    assert asked.accept_key == answer["Sec-WebSocket-Accept"]


def read_here(data: bytes) -> tuple[Asked, str] | str:
    """Return a request as a Connection reads it, and how it is answered: the key that accepts it, or a status."""
    head, _ = split_head(data)
    if asked := usual_upgrade(head):
        return asked, asked.accept_key
    return read_by_core(head) if head else "waits"


def read_by_core(data: bytes) -> tuple[Asked, str] | str:
    """Do the same with nothing but the core."""
    core = cores.core_of_any(1 << 20)
    core.receive_data(data)
    if core.handshake_exc is not None:
        return "refused"
    requests = [event for event in core.events_received() if isinstance(event, Request)]
    if not requests:
        return "waits"
    response = core.accept(requests[0])
    return cores.asked_of(requests[0]), response.headers.get("Sec-WebSocket-Accept", str(response.status_code))


@given(
    st.lists(st.tuples(st.sampled_from(BORDERS), st.integers(0, 3), st.sampled_from(ODD)), min_size=1, max_size=3),
    st.permutations(LINES[1:]),
)
def test_request_is_read_as_by_the_core_alone(changes: list[tuple[int, int, bytes]], lines: list[bytes]) -> None:
    """Whatever it is: what two read in two ways one of them lets in, and the other has not seen."""
    data = b"\r\n".join([LINES[0], *lines]) + b"\r\n\r\n"
    for at, removed, added in changes:
        data = data[:at] + added + data[at + removed :]
    here, by_core = read_here(data), read_by_core(data)
    if isinstance(here, tuple) and isinstance(by_core, tuple):
        assert (here[0].method, here[0].target, here[0].headers) == (
            by_core[0].method,
            by_core[0].target,
            by_core[0].headers,
        )
        assert here[1] == by_core[1]
    else:
        # A line that does not end is refused when all of the request is here, not in its middle.
        assert here == by_core or (here, by_core) == ("waits", "refused")


def test_more_headers_than_the_core_takes_are_its_to_refuse() -> None:
    """They fit into the shorter way's limit of bytes."""
    more = b"".join(b"h%d:\r\n" % number for number in range(120))
    assert usual_upgrade(REQUEST.replace(b"Host:", more + b"Host:")) is not None
    more = b"".join(b"h%d:\r\n" % number for number in range(121))
    data = REQUEST.replace(b"Host:", more + b"Host:")
    assert usual_upgrade(data) is None
    assert read_by_core(data) == "refused"


def test_plain_answer_is_http() -> None:
    raw = Answer(401, b"No.\n", headers={"WWW-Authenticate": "Basic"}).encode()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert body == b"No.\n"
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 401 Unauthorized",
        b"Connection: close",
        b"Content-Length: 4",
        b"Content-Type: text/plain; charset=utf-8",
        b"WWW-Authenticate: Basic",
    ]


@pytest.mark.parametrize(
    ("data", "head", "rest"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b""),
        (b"GET / HTTP/1.1\r\n\r\n\x89\x80\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x89\x80\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r", b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r"),
        (b"x" * 16_384, b"", b"x" * 16_384),
        (b"x" * 16_385, b"x" * 16_385, b""),
    ],
    ids=["whole", "with_frames_behind", "not_yet_whole", "long", "too_long"],
)
def test_request_is_parted_from_what_comes_behind_it(data: bytes, head: bytes, rest: bytes) -> None:
    """The core would read on, and answer pings of somebody it has not let in."""
    assert split_head(data) == (head, rest)

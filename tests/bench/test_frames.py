"""The load generator speaks what jambonz speaks, and knows an ack from something else."""

import orjson
import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from tests.bench import frames
from tests.bench.application import VERBS
from tests.bench.caller import has_both_verbs, is_ack
from tests.bench.frames import CallFrames, server_frames


def server() -> ServerProtocol:
    """Return a websocket server's side behind the handshake."""
    protocol = ServerProtocol(subprotocols=[Subprotocol("ws.jambonz.org")])
    protocol.receive_data(frames.upgrade("127.0.0.1:3000", "/bench"))
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    protocol.data_to_send()
    return protocol


def heard(protocol: ServerProtocol, data: bytes) -> list[dict[str, object]]:
    """Return the messages a server reads from these bytes."""
    protocol.receive_data(data)
    return [orjson.loads(bytes(event.data)) for event in protocol.events_received() if isinstance(event, Frame)]


def test_a_server_reads_every_message_of_a_call() -> None:
    """What is patched in place must stay a frame and JSON."""
    protocol, call = server(), CallFrames()
    (first,) = heard(protocol, call.first("session:new"))
    messages = [message for _ in range(3) for message in heard(protocol, bytes(call.next_hook()))]
    assert first["type"] == "session:new"
    assert [message["type"] for message in messages] == ["verb:hook"] * 3
    assert len({message["msgid"] for message in [first, *messages]}) == 4
    assert messages[-1]["msgid"] == call.msgid.decode()
    assert {message["call_sid"] for message in [first, *messages]} == {call.call_sid}


def test_a_notice_goes_before_each_hook() -> None:
    """Both are in one write; only the hook is owed an ack."""
    protocol, call = server(), CallFrames(has_notice=True)
    notice, hook = heard(protocol, bytes(call.next_hook()))
    assert (notice["type"], hook["type"]) == ("verb:status", "verb:hook")
    assert hook["msgid"] == call.msgid.decode()


@pytest.mark.parametrize("size", [10, 125, 126, 65535, 65536], ids=lambda size: f"{size}_bytes")
def test_frames_of_a_server_are_found_at_any_size(size: int) -> None:
    """The bytes of a frame may come in any pieces; what is whole is taken, the rest waits."""
    payload = b"x" * size
    whole = Frame(Opcode.TEXT, payload).serialize(mask=False)
    assert list(server_frames(whole + whole[:-1])) == [(frames.TEXT, payload, len(whole))]
    assert all(not list(server_frames(whole[:cut])) for cut in (0, 1, 3, 9, len(whole) - 1))


def test_a_ping_is_answered_with_what_it_carries() -> None:
    """A server that hears no such pong takes the call for dead."""
    protocol = server()
    protocol.send_ping(b"\x01\x02")
    ((opcode, payload, _),) = server_frames(b"".join(protocol.data_to_send()))
    assert opcode == frames.PING
    protocol.receive_data(frames.client_frame(payload, frames.PONG))
    (pong,) = protocol.events_received()
    assert isinstance(pong, Frame)
    assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"\x01\x02")


ACK: dict[str, object] = {"type": "ack", "msgid": "m1", "data": VERBS}


@pytest.mark.parametrize(
    ("message", "is_one"),
    [
        pytest.param(ACK, True, id="ack"),
        pytest.param({**ACK, "msgid": "m2"}, False, id="ack_of_another_hook"),
        pytest.param({**ACK, "type": "command"}, False, id="command"),
    ],
)
def test_only_the_ack_of_its_own_hook_counts(message: dict[str, object], is_one: bool) -> None:
    """A late ack would make a broken server look fast."""
    assert is_ack(message, b"m1") is is_one


@pytest.mark.parametrize(
    ("message", "has_both"),
    [
        pytest.param(ACK, True, id="two_verbs"),
        pytest.param({**ACK, "data": VERBS[:1]}, False, id="one_verb"),
        pytest.param({"type": "ack", "msgid": "m1"}, False, id="none"),
    ],
)
def test_empty_ack_of_the_deadline_guard_is_told_apart(message: dict[str, object], has_both: bool) -> None:
    """A gateway alone would look fastest of all."""
    assert has_both_verbs(message) is has_both

"""The load generator speaks what jambonz speaks, and knows an ack from something else."""

import orjson
import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from tests.bench import frames
from tests.bench.application import VERBS
from tests.bench.caller import is_ack
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


@pytest.mark.parametrize(
    ("message", "is_one"),
    [
        pytest.param({"type": "ack", "msgid": "m1", "data": VERBS}, True, id="ack"),
        pytest.param({"type": "ack", "msgid": "m2", "data": VERBS}, False, id="ack_of_another_hook"),
        pytest.param({"type": "ack", "msgid": "m1"}, False, id="ack_without_verbs"),
        pytest.param({"type": "ack", "msgid": "m1", "data": VERBS[:1]}, False, id="one_verb_only"),
        pytest.param({"type": "command", "msgid": "m1", "data": VERBS}, False, id="command"),
    ],
)
def test_only_an_ack_with_both_verbs_counts(message: dict[str, object], is_one: bool) -> None:
    """A fallback or an empty ack would make a broken server look fast."""
    assert is_ack(orjson.dumps(message), b"m1", has_verbs=True) is is_one


def test_a_reconnect_may_be_acked_without_verbs() -> None:
    """PROTOCOL.md 2.6.2: its content is ignored."""
    assert is_ack(b'{"type":"ack","msgid":"m1"}', b"m1", has_verbs=False)

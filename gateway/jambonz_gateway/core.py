"""websockets' sans-I/O core as a Connection uses it: for what is unusual. One for each state stands for those not made.

A core costs 40,000 instructions and 2 kB; nearly no call needs one (docs/benchmarks/2026-11-21-hot-path.md).
"""

import asyncio
import logging
from typing import Final

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from jambonz_gateway.frames import unmasked
from jambonz_gateway.upgrade import Asked
from jambonz_shared.wire import SUBPROTOCOL

# websockets logs each handshake and close at INFO; our own lines say the same with the call's id.
_QUIET: Final = logging.getLogger("jambonz_gateway.websockets")
_QUIET.setLevel(logging.WARNING)

# A masked close frame with 1000 and no reason: mask and code follow (RFC 6455 5.2, 5.5.1).
_HANG_UP: Final = b"\x88\x82"
_CODE_1000: Final = (1000).to_bytes(2, "big")
_ABNORMAL: Final = 1006

NOT_ASKED: Final = Protocol(Side.SERVER, state=State.CONNECTING, logger=_QUIET)
"""Stands for the core of a peer that has not asked for anything yet."""

ASKED: Final = Protocol(Side.SERVER, state=State.CONNECTING, logger=_QUIET)
"""Stands for the core of a peer whose usual handshake waits for its answer."""

NOT_NEEDED: Final = Protocol(Side.SERVER, state=State.OPEN, logger=_QUIET)
"""Stands for the core of a websocket on which nothing unusual has come or gone; see ``own_core``."""

HUNG_UP: Final = Protocol(Side.SERVER, state=State.OPEN, logger=_QUIET)
"""Stands for the core of a peer that has ended its call as nearly all do (``is_hang_up``), and was answered."""
HUNG_UP.receive_data(_HANG_UP + bytes(4) + _CODE_1000)

HANG_UP_ANSWER: Final = b"".join(HUNG_UP.data_to_send())
"""What answers it; behind it the server ends TCP."""

HANDSHAKE_LIMIT_S: Final = 10.0
"""jambonz gives up a handshake after 1.5 s (PROTOCOL.md 1.1); who has not sent one by then is no jambonz.

PROXY header and TLS get as long.
"""

EARLY_LIMIT_BYTES: Final = 32 * 1024
"""What is kept of a peer whose websocket is not open: a request, and a message behind it of one that does not wait.

jambonz sends a request of some 400 bytes, and waits. Anybody may send these, so a full house of 10,000 has to fit.
"""

CLOSE_LIMIT_S: Final = 2.0
"""A peer that does not answer our close frame in this time is gone."""

FRAMES_PER_TURN: Final = 64
"""So many of one peer are taken, then all others have their turn: one read may hold 40,000 pings, a second's work."""

WRITE_LIMIT_BYTES: Final = 256 * 1024
"""What may wait for one peer that does not read: ten times the largest message we send (PROTOCOL.md 1.1)."""


def own_core(core: Protocol, max_size_bytes: int) -> Protocol:
    """Return the core, or a new one if it was not needed so far: it begins between two frames of an open websocket."""
    if core is NOT_NEEDED:
        return Protocol(Side.SERVER, state=State.OPEN, max_size=max_size_bytes, logger=_QUIET)
    return core


def core_of_any(max_size_bytes: int) -> ServerProtocol:
    """Return the core of a peer whose request it has to read itself."""
    return ServerProtocol(subprotocols=[Subprotocol(SUBPROTOCOL)], max_size=max_size_bytes, logger=_QUIET)


def is_hang_up(frame: bytes) -> bool:
    """Tell whether a whole frame is a close with 1000 and no reason (PROTOCOL.md 1.3)."""
    return frame[:2] == _HANG_UP and unmasked(frame, 2, len(frame)) == _CODE_1000


def message_of(frame: Frame, fragments: bytearray) -> bytes | None:
    """Return the text message that ends with a frame, put together from the fragments before it.

    As bytes, since one of two bytes would be an object of forty, and an empty one, which the core does not count, take
    room for good.
    """
    if frame.opcode is Opcode.TEXT and frame.fin:
        return bytes(frame.data)
    if frame.opcode not in {Opcode.TEXT, Opcode.CONT}:
        return None
    fragments.extend(frame.data)
    if not frame.fin:
        return None
    message = bytes(fragments)
    fragments.clear()
    return message


def end_of(core: Protocol) -> tuple[int, bool]:
    """Return the code of the close frame that came, 1006 without one, and whether we had closed first."""
    received = core.close_rcvd
    return received.code if received else _ABNORMAL, core.close_sent is not None and not core.close_rcvd_then_sent


def half_closed(transport: asyncio.Transport) -> bool:
    """End our direction of TCP right behind the close frame, and return True; not with TLS, which cannot do it.

    Between our close frame and the end of TCP, jambonz's websocket library throws away what it is to send, hooks
    among it; behind the end of TCP jambonz queues for the next socket (PROTOCOL.md 2.6.2). With ``ws`` 8.23 over a
    line of 50 ms that gap was 104 ms, and is 3 ms this way. What was sent before still comes in.
    """
    if not transport.can_write_eof():
        return False
    transport.write_eof()
    return True


def accepted(core: ServerProtocol, request: Request) -> int:
    """Answer an upgrade, which is to be written then; return the HTTP status."""
    response = core.accept(request)
    core.send_response(response)
    # The core keeps the request as long as the socket is open (websockets 17.4, ServerProtocol.parse): 2 kB a call.
    request.headers.clear()
    return response.status_code


def asked_of(request: Request) -> Asked:
    """Return a request that the core has read."""
    headers = {name.lower(): ", ".join(request.headers.get_all(name)) for name in request.headers}
    return Asked(request.method, request.path, headers)

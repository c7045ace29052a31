"""websockets' sans-I/O core as a Connection uses it: before the handshake, for the usual handshake, for any other."""

import logging
from typing import Final

from websockets.http11 import Request
from websockets.protocol import Protocol, Side, State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from jambonz_gateway.upgrade import Asked
from jambonz_shared.wire import SUBPROTOCOL

# websockets logs each handshake and close at INFO; our own lines say the same with the call's id.
_QUIET: Final = logging.getLogger("jambonz_gateway.websockets")
_QUIET.setLevel(logging.WARNING)

NOT_ASKED: Final = Protocol(Side.SERVER, state=State.CONNECTING, logger=_QUIET)
"""Stands for the core of a peer that has not asked for anything yet."""

HANDSHAKE_LIMIT_S: Final = 10.0
"""jambonz gives up a handshake after 1.5 s (PROTOCOL.md 1.1); who has not sent one by then is no jambonz."""

CLOSE_LIMIT_S: Final = 2.0
"""A peer that does not answer our close frame in this time is gone."""


def core_of_usual(max_size_bytes: int) -> Protocol:
    """Return the core of a peer whose handshake is answered beside it: it begins with the frames."""
    return Protocol(Side.SERVER, state=State.CONNECTING, max_size=max_size_bytes, logger=_QUIET)


def core_of_any(max_size_bytes: int) -> ServerProtocol:
    """Return the core of a peer whose request it has to read itself."""
    return ServerProtocol(subprotocols=[Subprotocol(SUBPROTOCOL)], max_size=max_size_bytes, logger=_QUIET)


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

"""How fast the calls of these tests live; and a server that speaks no websocket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from jambonz_simulator import JAMBONZ_TIMING, CallOptions

# Deadlines as in life, so that a busy machine misses none.
PATIENT = CallOptions(speed=50)
# The same with a tenth of the back-off, for calls that reconnect.
QUICK = replace(
    PATIENT, timing=replace(JAMBONZ_TIMING, first_backoff_s=0.05, backoff_step_s=0.2, failed_dial_close_s=0.2)
)

# Six attempts to connect in 0.14 s instead of 13.5 s.
SWIFT = replace(PATIENT, timing=replace(JAMBONZ_TIMING, first_backoff_s=0.005, backoff_step_s=0.02))


@asynccontextmanager
async def raw_server(
    on_connect: Any,
) -> AsyncIterator[str]:
    server = await asyncio.start_server(on_connect, "127.0.0.1", 0)
    async with server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

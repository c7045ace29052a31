"""The bound: a plain ``websockets`` asyncio server that answers in process, as any jambonz application could."""

import asyncio
import logging
import sys

import orjson
import uvloop
from websockets.asyncio.server import ServerConnection, serve

from tests.bench.application import VERBS

_HOOKS = frozenset({"session:new", "session:reconnect", "session:redirect", "verb:hook", "dial:confirm"})


async def handle(socket: ServerConnection) -> None:
    """Ack every hook."""
    async for text in socket:
        message = orjson.loads(text)
        if message["type"] in _HOOKS:
            await socket.send(orjson.dumps({"type": "ack", "msgid": message["msgid"], "data": VERBS}), text=True)


async def main(port: int) -> None:
    """Serve until killed."""
    # A storm would make it write a traceback for each socket that breaks.
    logging.getLogger("websockets").setLevel(logging.CRITICAL)
    served = serve(
        handle,
        "127.0.0.1",
        port,
        subprotocols=["ws.jambonz.org"],  # type: ignore[list-item]
        compression=None,
        backlog=8192,
    )
    async with served:
        print("ready", flush=True)
        await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))

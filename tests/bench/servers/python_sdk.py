"""The official Python SDK's server, the way its documentation says; compression off, as on all others."""

import asyncio
import logging
import sys
from typing import Any

import uvloop
from jambonz_sdk.websocket import create_endpoint  # type: ignore[import-untyped]

from tests.bench.application import VERBS

_SAY, _GATHER = ({name: value for name, value in verb.items() if name != "verb"} for verb in VERBS)


def answered(session: Any) -> Any:
    """Return the session with the two verbs in it."""
    return session.say(**_SAY).gather(**_GATHER)


async def start(session: Any) -> None:
    """Answer the call."""

    async def answer(_: dict[str, Any]) -> None:
        await answered(session).reply()

    session.on("/bench", answer)
    await answered(session).send()


async def main(port: int) -> None:
    """Serve until killed."""
    logging.disable()
    make_service, _ = await create_endpoint(host="127.0.0.1", port=port, compress=False)
    make_service(path="/bench").on("session:new", start)
    print("ready", flush=True)
    await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))

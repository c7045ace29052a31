"""A small real websocket application for the simulator to call."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

WELCOME: list[dict[str, Any]] = [
    {"verb": "say", "text": "Hello"},
    {"verb": "gather", "input": ["digits"], "numDigits": 1, "timeout": 5, "actionHook": "/menu"},
]
GOODBYE: list[dict[str, Any]] = [{"verb": "say", "text": "Goodbye"}, {"verb": "hangup"}]

Answer = Callable[["Application", ServerConnection, dict[str, Any]], Awaitable[None]]


async def answer_like_an_ivr(app: "Application", socket: ServerConnection, frame: dict[str, Any]) -> None:
    """Ack what wants an ack: WELCOME first, GOODBYE to digits, WELCOME to silence."""
    match frame["type"], frame.get("hook"):
        case "session:new", _:
            await app.ack(socket, frame, WELCOME)
        case "verb:hook", "/menu":
            await app.ack(socket, frame, GOODBYE if frame["data"].get("digits") else WELCOME)
        case (("session:reconnect" | "session:redirect" | "session:adulting" | "verb:hook" | "dial:confirm"), _):
            await app.ack(socket, frame, [])
        case _:
            pass


class Application:
    """The server under call; what it answers can be replaced while it runs.

    Attributes:
        requests: The upgrade requests, in order.
        frames: All messages of jambonz, with the number of their socket.
        sockets: All sockets ever opened, in order.
    """

    def __init__(self, answer: Answer = answer_like_an_ivr) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.frames: list[tuple[int, dict[str, Any]]] = []
        self.sockets: list[ServerConnection] = []
        self.refusal: Callable[[Request], Response | None] = lambda _: None
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ivr"

    @property
    def socket(self) -> ServerConnection:
        return self.sockets[-1]

    def kinds(self) -> list[str]:
        return [frame["type"] for _, frame in self.frames]

    async def ack(self, socket: ServerConnection, frame: dict[str, Any], data: Any = None) -> None:
        ack = {"type": "ack", "msgid": frame["msgid"]}
        await socket.send(json.dumps(ack if data is None else {**ack, "data": data}))

    async def command(self, command: str, data: Any) -> None:
        await self.socket.send(json.dumps({"type": "command", "command": command, "data": data}))

    def abort(self) -> None:
        """Lose the newest socket without a close frame."""
        self.socket.transport.abort()

    def _check(self, _connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        return self.refusal(request)

    async def _serve_socket(self, socket: ServerConnection) -> None:
        self.sockets.append(socket)
        number = len(self.sockets)
        try:
            async for payload in socket:
                frame = json.loads(payload)
                self.frames.append((number, frame))
                await self.answer(self, socket, frame)
        except ConnectionClosed:
            pass

    @asynccontextmanager
    async def running(self, *, subprotocol: str = "ws.jambonz.org") -> AsyncIterator["Application"]:
        subprotocols = [Subprotocol(subprotocol)]
        async with serve(
            self._serve_socket,
            "127.0.0.1",
            self.port,
            subprotocols=subprotocols,
            select_subprotocol=lambda _, offered: subprotocols[0] if subprotocols[0] in offered else None,
            process_request=self._check,
            compression=None,
            close_timeout=1,
        ) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    @contextmanager
    def running_in_a_thread(self) -> Iterator["Application"]:
        """Serve beside code that runs a loop of its own."""
        is_up, loop = threading.Event(), asyncio.new_event_loop()
        stop: asyncio.Future[None] = loop.create_future()

        async def run() -> None:
            async with self.running():
                is_up.set()
                await stop

        thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
        thread.start()
        assert is_up.wait(10), "the application did not start"
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(stop.set_result, None)
            thread.join(10)
            loop.close()


def http_answer(status: int, **headers: str) -> Response:
    fields = Headers({name.replace("_", "-"): value for name, value in headers.items()})
    return Response(status, HTTPStatus(status).phrase, fields, b"")


@contextmanager
def running_in_a_process() -> Iterator[str]:
    """Serve from a process of its own, for measurements; gives the URL."""
    command = [sys.executable, "-m", "tests.integration.simulator.application_double"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[3])
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


async def _serve_for_ever() -> None:
    async with Application().running() as app:
        sys.stdout.write(f"{app.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve_for_ever())

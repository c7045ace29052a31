"""Every route of CONFORMANCE_APP.md through the processes a stranger would start: TLS, a password, two of each."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import orjson
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from tests.certificates import SelfSigned, make_certificate
from tests.cluster_fixture import Cluster, ClusterFactory
from tests.conditions import LIMIT_S, until
from tests.integration.gateway.test_http import basic

pytestmark = pytest.mark.lasting_clusters

APP: Final = "examples.conformance:app"
PASSWORD: Final = "jambonz:s3cret"

GATHER: Final = {"verb": "gather", "input": ["digits"], "numDigits": 1, "timeout": 20, "actionHook": "/menu"}
HANGUP: Final = {"verb": "hangup"}


def say(text: str, *more: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"verb": "say", "text": text}, *more]


def tag(**data: Any) -> list[dict[str, Any]]:
    return [{"verb": "tag", "data": data}]


class Jambonz:
    """One websocket of a call; ``top`` is False on adulting and redirect sockets (PROTOCOL.md 2.1)."""

    def __init__(self, socket: ClientConnection, sid: str, *, top: bool = True) -> None:
        self.socket: Final = socket
        self.sid: Final = sid
        self._top = top
        self._count = 0

    async def says(self, kind: str, hook: str = "", *, names_call: bool = True, **data: Any) -> str:
        """Send a message and return its msgid."""
        self._count += 1
        frame: dict[str, Any] = {"type": kind, "msgid": f"{self.sid}-{self._count}"}
        if self._top:
            frame["call_sid"] = self.sid
        if hook:
            frame["hook"] = hook
        frame["data"] = ({"call_sid": self.sid} if names_call else {}) | data
        await self.socket.send(orjson.dumps(frame).decode())
        return str(frame["msgid"])

    async def hears(self) -> dict[str, Any]:
        """Return the next message."""
        async with asyncio.timeout(LIMIT_S):
            message: dict[str, Any] = orjson.loads(await self.socket.recv())
            return message

    async def asks(self, kind: str, hook: str = "", **data: Any) -> Any:
        """Send a message that wants an ack, and return the ``data`` of the ack, which comes before anything else."""
        msgid = await self.says(kind, hook, **data)
        answer = await self.hears()
        assert (answer["type"], answer["msgid"]) == ("ack", msgid), answer
        return answer.get("data")

    async def hook(self, path: str, **args: Any) -> Any:
        """Ask a hook that is driven by ``data.args``."""
        return await self.asks("verb:hook", path, args=args)

    async def presses(self, digits: str) -> Any:
        return await self.asks("verb:hook", "/menu", digits=digits)

    async def begins(self, **env_vars: Any) -> None:
        """Begin the call, and answer it."""
        welcome = await self.asks("session:new", direction="inbound", env_vars=env_vars)
        assert welcome == say(f"welcome {self.sid}", GATHER)
        await self.says("call:status", call_status="in-progress")

    async def redirected(self, *, queue: bool = False) -> Any:
        """Return the verbs of the next message, which is a ``redirect``."""
        command = await self.hears()
        assert (command["type"], command["command"], command["queueCommand"]) == ("command", "redirect", queue), command
        assert command["callSid"] == self.sid
        return command["data"]


@dataclass(frozen=True, slots=True)
class Running:
    """A cluster as a stranger would start it."""

    cluster: Cluster
    trusts: ssl.SSLContext

    def url(self, gateway: int = 0) -> str:
        return self.cluster.gateways[gateway].url.replace("ws://", "wss://") + "/conformance"

    @contextlib.asynccontextmanager
    async def socket(self, sid: str, path: str = "", *, gateway: int = 0, top: bool = True) -> AsyncIterator[Jambonz]:
        """Open one websocket; it is closed with 1000 at the end."""
        async with connect(
            self.url(gateway) + path,
            subprotocols=[Subprotocol("ws.jambonz.org")],
            additional_headers=basic(PASSWORD),
            ssl=self.trusts,
            proxy=None,
        ) as socket:
            yield Jambonz(socket, sid, top=top)

    @contextlib.asynccontextmanager
    async def call(self, sid: str, *, gateway: int = 0, **env_vars: Any) -> AsyncIterator[Jambonz]:
        """Begin a call and answer it."""
        async with self.socket(sid, gateway=gateway) as jambonz:
            await jambonz.begins(**env_vars)
            yield jambonz
            await jambonz.says("call:status", call_status="completed")

    @contextlib.asynccontextmanager
    async def again(self, sid: str) -> AsyncIterator[Jambonz]:
        """Reconnect to the second gateway."""
        async with self.socket(sid, gateway=1) as jambonz:
            assert await jambonz.asks("session:reconnect", direction="inbound", env_vars={}) == []
            yield jambonz


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> SelfSigned:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
async def running(cluster: ClusterFactory, certificate: SelfSigned) -> Running:
    settings = {
        "JAMBONZ_CLUSTER_TLS_CERTIFICATE_FILE": str(certificate.certificate),
        "JAMBONZ_CLUSTER_TLS_KEY_FILE": str(certificate.key),
        "JAMBONZ_CLUSTER_BASIC_AUTH": PASSWORD,
    }
    return Running(await cluster(APP, gateways=2, workers=2, settings=settings), certificate.client)


async def test_page_sessions_and_notices(running: Running) -> None:
    """Sessions, notifications and the tool call, with what raises among them."""
    async with running.socket("slow") as slow:
        assert await slow.asks("session:new", direction="inbound", env_vars={"start": "slow", "start_delay_ms": 50})
    async with running.socket("crash") as crash:
        verbs = await crash.asks("session:new", direction="inbound", env_vars={"start": "crash"})
        assert [verb["verb"] for verb in verbs] == ["sip:decline"], "an app that raises refuses the call; never no ack"
    async with running.call("a", start="normal") as a:
        assert await a.asks("session:redirect", "/redirected") == tag(redirected="/redirected", count=0)
        assert await a.asks("dial:confirm", "/confirm") == say("please hold")
        kinds = ["verb:status", "jambonz:error", "llm:event", "tts:streaming-event", "tts:tokens-result"]
        for seq, kind in enumerate(["call:status", *kinds]):
            named = kind == "call:status"
            await a.says(kind, names_call=named, crash=True, seq=99)
            await a.says(kind, names_call=named, delay_ms=30, seq=seq)
            await a.says(kind, names_call=named, seq="no number")
        assert await a.hook("/seen") == tag(seen=list(range(6)))
        await a.says("llm:tool-call", "/tool", names_call=False, tool_call_id="t0", name="x", args={"crash": True})
        await a.says("llm:tool-call", "/tool", names_call=False, tool_call_id="t1", name="x", args={"a": 1, "b": 2})
        output = await a.hears()
        item = {"type": "function_call_output", "call_id": "t1", "output": '{"sum":3}'}
        assert output.pop("callSid") == "a"
        assert output == {
            "type": "command",
            "command": "llm:tool-output",
            "tool_call_id": "t1",
            "data": {"type": "conversation.item.create", "item": item},
        }
    async with running.socket("leg", "/adulting", gateway=1, top=False) as leg:
        assert await leg.asks("session:adulting", parent_call_info={"call_sid": "a"}) == []
        assert await leg.redirected() == tag(adulted="leg")
        assert await leg.hook("/count") == tag(count=1, starts=0)


async def test_page_menu(running: Running) -> None:
    """Each digit but one."""
    async with running.call("a", self_url="wss://x.example/conformance") as a:
        assert await a.presses("1") == say("goodbye", HANGUP)
        assert await a.presses("2") == []
        assert await a.redirected() == say("async", GATHER)
        assert await a.presses("3") == say("three", GATHER)
        assert await a.presses("4") == []
        assert await a.presses("6") == [{"verb": "redirect", "actionHook": "/redirected"}]
        assert await a.presses("7") == [{"verb": "redirect", "actionHook": "wss://x.example/conformance"}]
        [dial] = await a.presses("8")
        assert (dial["confirmHook"], dial["anchorMedia"], dial["actionHook"]) == ("/confirm", True, "/done")
        assert dial["target"] == [{"type": "sip", "sipUri": "sip:bob@127.0.0.1"}]
        assert await a.presses("9") == [{"verb": "conference", "name": "room", "actionHook": "/done"}]
        assert await a.presses("0") == [{"verb": "listen", "url": "ws://127.0.0.1:9/audio", "actionHook": "/done"}]
        config, gather = await a.presses("*")
        assert (config["ttsStream"], config["synthesizer"]["vendor"], gather) == (
            {"enable": True},
            "elevenlabs",
            GATHER,
        )
        [llm] = await a.presses("#")
        assert (llm["verb"], llm["toolHook"], llm["eventHook"]) == ("llm", "/tool", "/llm-event")
        assert await a.asks("verb:hook", "/menu", reason="timeout") == say("no input", HANGUP)
        assert await a.asks("verb:hook", "/done") == say("done", GATHER)


@pytest.mark.long
async def test_page_menu_when_the_answer_is_late(running: Running) -> None:
    """5 takes seven seconds: the gateway answers in time, and the application afterwards."""
    async with running.call("a") as a:
        assert await a.presses("5") is None, "the gateway's own ack, without data"
        assert await a.redirected() == say("late", GATHER)


async def test_page_hooks(running: Running) -> None:
    """What answers at once, later, in pieces, and not at all."""
    payload = {"aB": [1, 1.5, None, True, "\u2028 \U0001f600"], "snake_case": {"xY": {}}}
    async with running.call("a") as a:
        assert await a.hook("/count") == tag(count=1, starts=1)
        assert await a.hook("/count") == tag(count=2, starts=1)
        assert await a.hook("/echo", payload=payload) == tag(echo=payload)
        assert await a.hook("/sleep", ms=20) == tag(slept=20)
        assert await a.hook("/crash") == []
        assert await a.hook("/nobody") == []
        assert await a.hook("/later", ms=20, id="L") == []
        assert await a.redirected() == tag(later="L")
        assert await a.hook("/stream", n=3, every_ms=10) == []
        assert [await a.redirected(queue=True) for _ in range(3)] == [tag(i=0), tag(i=1), tag(i=2)]
        verbs = await a.hook("/big", n=5, size=10_000)
        while len(verbs) < 5:
            verbs += await a.redirected(queue=True)
        assert verbs == [{"verb": "say", "text": f"{i}:" + "x" * 10_000} for i in range(5)]
        assert await a.hook("/big", n=1, size=30_000) == [], "no message can hold it, and still the hook is acked"
        assert await a.hook("/registry", ask=["a", "b"]) == tag(known={"a": True, "b": False})
        assert await a.hook("/tts", tokens=["Hello ", "world. "]) == []
        for text in ("Hello ", "world. "):
            token = await a.hears()
            assert (token["command"], token["data"]["tokens"]) == ("tts:tokens", text)
            await a.says("tts:tokens-result", names_call=False, id=token["data"]["id"], status="ok")
        assert (await a.hears())["command"] == "tts:flush"


COMMANDS: Final[list[dict[str, Any]]] = [
    {"command": "llm:tool-output", "tool_call_id": "t9", "data": {"a": 1}},
    {"command": "tts:flush"},
    {"command": "tts:clear"},
    {"command": "tts:tokens", "data": {"id": 5, "tokens": "hi "}},
    {"command": "media:path", "data": "no-media"},
    {"command": "boostAudioSignal", "data": 6, "callSid": "leg-7"},
    {"command": "whisper", "data": {"whisper": say("x")}, "callSid": "leg-7"},
    {"command": "redirect", "data": {"call_hook": "/redirected"}},
    {"command": "some:thing", "data": {}},
]


async def test_page_commands(running: Running) -> None:
    """``/emit`` sends exactly what it is told, in order."""
    async with running.call("a") as a:
        redirects = [{"command": "redirect", "verbs": say(str(queue)), "queue": queue} for queue in (False, True)]
        assert await a.hook("/emit", commands=[*redirects, *COMMANDS], gap_ms=1) == []
        for queue in (False, True):
            assert await a.redirected(queue=queue) == say(str(queue))
        for command in COMMANDS:
            assert await a.hears() == {"type": "command", "callSid": "a"} | command


# What jambonz tells while the commands go out: the statuses in each order that it has, the verb of the reply where an
# application has asked for it (PROTOCOL.md 2.10, 2.11).
AMID_HELPERS: Final[dict[str, list[tuple[str, dict[str, Any]]]]] = {
    "nothing": [],
    "trying": [("call:status", {"call_status": "trying"})],
    "ringing": [("call:status", {"call_status": status}) for status in ("trying", "ringing", "early-media")],
    "answered": [("call:status", {"call_status": status}) for status in ("trying", "in-progress")],
    "verbs": [
        ("call:status", {"call_status": "in-progress"}),
        ("verb:status", {"event": "starting", "name": "tag"}),
    ],
}


@pytest.mark.parametrize("amid", AMID_HELPERS)
async def test_page_helpers(running: Running, amid: str) -> None:
    """``/helpers`` sends what jambonz understands, whatever the call's newest status is and whichever verb runs."""
    async with running.socket(f"h-{amid}") as a:
        await a.asks("session:new", direction="inbound", call_status="trying")
        assert await a.asks("verb:hook", "/helpers") == tag(skipped=["tag"])
        for kind, data in AMID_HELPERS[amid]:
            await a.says(kind, names_call=kind == "call:status", **data)
        expected: list[tuple[str, Any]] = [
            ("mute:status", {"mute_status": "mute"}),
            ("listen:status", {"listen_status": "pause"}),
            ("whisper", {"whisper": say("psst")}),
            ("record", {"action": "startCallRecording", "siprecServerURL": "sip:rec@127.0.0.1", "recordingID": "r1"}),
            ("record", {"action": "stopCallRecording"}),
            ("dtmf", {"dtmf": {"digit": "5", "duration": 300}}),
            ("sip:request", {"sip_request": {"method": "INFO", "content_type": "text/plain", "content": "hi"}}),
            ("llm:tool-output", {"type": "conversation.item.create", "item": {"x": 1}}),
            ("llm:update", {"type": "session.update", "session": {"y": 2}}),
            ("tts:tokens", {"id": 1, "tokens": "hello"}),
            ("tts:flush", None),
            ("tts:clear", None),
            ("redirect", {"call_hook": "/redirected"}),
        ]
        heard = [await a.hears() for _ in expected]
        assert [(frame["command"], frame.get("data")) for frame in heard] == expected
        assert heard[7]["tool_call_id"] == "t1"
        await a.says("call:status", call_status="completed")


async def test_page_closes(running: Running) -> None:
    """``/close``: 1000 ends the call and its state; after any other code both wait for jambonz."""
    async with running.call("watcher") as watcher:
        for code in (1000, 1012, 4001):
            async with running.socket(f"c{code}", gateway=1) as closing:
                await closing.asks("session:new", direction="inbound")
                assert await closing.hook("/close", code=code) == []
                await closing.socket.wait_closed()
                assert closing.socket.close_code == code

        async def are_known() -> dict[str, bool]:
            known: dict[str, bool] = (await watcher.hook("/registry", ask=["c1000", "c1012", "c4001"]))[0]["data"][
                "known"
            ]
            return known

        async def is_settled() -> bool:
            return await are_known() == {"c1000": False, "c1012": True, "c4001": True}

        await until(is_settled, "the state of the call that has ended is gone, that of the others is not")
        for sid in ("c1012", "c4001"):
            async with running.again(sid) as again:
                assert await again.hook("/count") == tag(count=1, starts=1)
                await again.says("call:status", call_status="completed")


async def test_page_http(running: Running) -> None:
    """``OPTIONS`` tells the one variable without a password; without the right one nobody gets a websocket."""
    url = running.url().replace("wss://", "https://")
    async with aiohttp.ClientSession() as client, client.options(url, ssl=running.trusts) as response:
        assert response.status == 200
        assert response.content_type == "application/json"
        described = {"type": "string", "description": "What to say first", "default": "hello"}
        assert await response.json() == {"GREETING": described}
    for headers in ({}, basic("jambonz:wrong"), basic("other:s3cret")):
        with pytest.raises(InvalidStatus) as caught:
            await connect(
                running.url(),
                subprotocols=[Subprotocol("ws.jambonz.org")],
                additional_headers=headers,
                ssl=running.trusts,
                proxy=None,
            )
        assert caught.value.response.status_code == 401


async def test_page_goes_on_when_a_gateway_and_a_worker_are_killed(running: Running) -> None:
    """``state`` lives as long as the call: counter and starts survive both deaths, and no hook stays without an ack."""
    async with contextlib.AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(running.socket(f"k{i}", gateway=i % 2)) for i in range(8)]
        for call in calls:
            await call.begins()
        for count in (1, 2):
            assert [await call.hook("/count") for call in calls] == [tag(count=count, starts=1)] * len(calls)
        running.cluster.workers[0].kill()
        counted = await asyncio.gather(*(call.hook("/count") for call in calls))
        assert counted == [tag(count=3, starts=1)] * len(calls)
        for call in calls:
            assert await call.hook("/later", ms=1000, id=call.sid) == []
        running.cluster.gateways[0].kill()
        for call in calls[1::2]:
            assert await call.redirected() == tag(later=call.sid)
            await call.says("call:status", call_status="completed")
        for call in calls[::2]:
            await call.socket.wait_closed()
            async with running.again(call.sid) as again:
                assert await again.redirected() == tag(later=call.sid)
                assert await again.hook("/count") == tag(count=4, starts=1)
                await again.says("call:status", call_status="completed")

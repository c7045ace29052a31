"""Every row of PROTOCOL.md 2.2 through a real gateway, Redis and worker, into the handler that asks for its class."""

from typing import Any, Final

import orjson
import pytest

from jambonz_shared.kinds import KINDS
from jambonz_simulator import CallOptions, Dial, LiveCall, ModelEvent, Script, ToolCall, live_call
from jambonz_workers import Calls
from tests.cluster_fixture import ClusterFactory
from tests.conditions import until

pytestmark = pytest.mark.lasting_clusters

APP: Final = "tests.apps.observing:app"
FAST: Final = CallOptions(speed=20)

# Messages that no verb of this test causes: sent as jambonz would, with what a handler must read from them.
NOTICES: Final[list[tuple[str, dict[str, Any], list[object]]]] = [
    ("verb:status", {"event": "finished", "name": "say"}, ["VerbStatus", "say"]),
    ("jambonz:error", {"msg": "TTS error"}, ["JambonzError", "TTS error"]),
    ("tts:tokens-result", {"id": 1, "status": "ok"}, ["TokensResult", True]),
    ("tts:streaming-event", {"event_type": "stream_open"}, ["StreamingEvent", "stream_open"]),
    ("agent:event", {"type": "turn_end"}, ["ModelEvent", "turn_end"]),
    ("agent:tool-call", {"tool_call_id": "t", "name": "find", "arguments": '{"a": 1}'}, ["ToolCall", "find", {"a": 1}]),
    ("future:kind", {}, ["Event"]),
]
BY_VERBS: Final = {
    "session:new",
    "session:reconnect",
    "session:redirect",
    "session:adulting",
    "verb:hook",
    "dial:confirm",
    "call:status",
    "llm:event",
    "llm:tool-call",
}


def test_no_kind_is_left_out() -> None:
    """A new kind needs a test here."""
    assert {kind for kind, *_ in NOTICES} - {"future:kind"} | BY_VERBS == set(KINDS)


async def seen(call: LiveCall) -> dict[str, list[object]]:
    hook = await call.send_hook("/seen")
    found: dict[str, list[object]] = hook.verbs[0]["data"]["seen"]
    return found


@pytest.mark.parametrize(("kind", "data", "facts"), NOTICES, ids=[kind for kind, *_ in NOTICES])
async def test_notices(cluster: ClusterFactory, kind: str, data: dict[str, Any], facts: list[object]) -> None:
    """They want no answer, and get none."""
    running = await cluster(APP)
    async with live_call(f"{running.url}/observing/gather", Script(), FAST) as call:
        await call.wait_for_verb("gather")
        # As text: the simulator is a 0.9.8, which has no agents.
        call.send_raw(orjson.dumps({"type": kind, "msgid": "m-1", "call_sid": call.call_sid, "data": data}))
        assert (await seen(call))[kind] == facts
        call.hang_up()
        result = await call.wait_for_end()
        assert result.anomalies == ()


async def test_a_dial_and_its_legs(cluster: ClusterFactory, redis_url: str) -> None:
    """Both legs have a life of their own: dial:confirm and the leg's statuses are the leg's, adulting too."""
    running = await cluster(APP)
    script = Script(dials=(Dial(talk_s=None),))
    async with Calls.connect(redis_url) as calls, live_call(f"{running.url}/observing/dial", script, FAST) as call:
        await call.wait_for_hook("/confirm", kind="dial:confirm")
        await call.wait_for("the callee has answered", lambda it: it.core.session.child is not None)
        assert call.core.session.child is not None
        leg = await calls.get(call.core.session.child.call_sid)

        async def facts_of_leg() -> dict[str, Any]:
            found: dict[str, Any] = (await leg.state()).get("seen", {})
            return found

        async def is_in_progress() -> bool:
            return "call:status" in await facts_of_leg()

        await until(is_in_progress, "the leg has its status")
        assert (await facts_of_leg())["dial:confirm"] == ["SessionEvent", "/confirm"]
        await (await calls.get(call.call_sid)).redirect_hook(child_call_hook="/child")
        await call.wait_for_hook(kind="session:adulting")

        async def has_grown_up() -> bool:
            return "session:adulting" in await facts_of_leg()

        await until(has_grown_up, "the leg has told of its new life")
        told = await facts_of_leg()
        assert told["session:redirect"] == ["SessionEvent", "/child"]
        assert told["session:adulting"] == ["SessionEvent", True]
        await call.wait_for_hook("/done")
        assert (await seen(call))["verb:hook"] == ["Event", "/done"]
        call.hang_up()
        await call.wait_for_end()


async def test_a_call_of_its_own(cluster: ClusterFactory) -> None:
    """Its start, its status, and a reconnect, which the gateway has answered already."""
    running = await cluster(APP)
    async with live_call(f"{running.url}/observing/gather", Script(), FAST) as call:
        await call.wait_for_verb("gather")
        found = await seen(call)
        assert found["session:new"] == ["SessionEvent", "inbound"]
        assert found["call:status"] == ["CallStatus", False]
        call.drop_socket()
        await call.wait_for_sockets(2)
        await call.wait_for_hook(kind="session:reconnect")
        assert (await seen(call))["session:reconnect"] == ["SessionEvent", False]
        call.hang_up()
        await call.wait_for_end()


async def test_a_model(cluster: ClusterFactory) -> None:
    """Its events and its tool calls come with their hooks; keys of arguments keep their case."""
    running = await cluster(APP)
    script = Script(model=(ModelEvent({"type": "response.done"}), ToolCall("find", {"orderNo": "A-77"})))
    async with live_call(f"{running.url}/observing/llm", script, FAST) as call:
        await call.wait_for_verb("llm")

        async def has_asked() -> bool:
            return "llm:tool-call" in await seen(call)

        await until(has_asked, "the model has asked for its tool")
        found = await seen(call)
        assert found["llm:event"] == ["ModelEvent", "response.done"]
        assert found["llm:tool-call"] == ["ToolCall", "find", {"orderNo": "A-77"}]
        call.hang_up()
        await call.wait_for_end()

"""Streamed text through real gateways, Redis and workers, into the simulator's buffer."""

import asyncio
from typing import Final

import pytest

from jambonz_simulator import CallOptions, LiveCall, Script, live_call
from tests.cluster_fixture import ClusterFactory

pytestmark = pytest.mark.lasting_clusters

FAST: Final = CallOptions(speed=20)
APP: Final = "tests.apps.speaking:app"


def spoken(call: LiveCall) -> str:
    return "".join(call.core.session.tts.spoken)


async def told(call: LiveCall, timeout_s: float = 30.0) -> dict[str, object]:
    """Wait for what the application tells when its speech is over."""
    record = await call.wait_for_command("redirect", timeout_s=timeout_s)
    data: dict[str, object] = record.data[0]["data"]
    return data


@pytest.mark.parametrize("hook", ["/here", "/beside"])
async def test_every_character_is_spoken_once_and_in_order(cluster: ClusterFactory, hook: str) -> None:
    """More than jambonz's buffer holds, in tokens as a model makes them, from the handler and beside it."""
    running = await cluster(APP)
    tokens = [f"word{number} " if number % 9 else f"end{number}. " for number in range(400)] + ["the last"]
    async with live_call(f"{running.url}/speaking", Script(), FAST) as call:
        await call.wait_for_verb("gather")
        call.start_hook(hook, args={"tokens": tokens})
        assert await told(call) == {"taken": "".join(tokens), "cut": False}
        await call.wait_for("all is spoken", lambda it: spoken(it) == "".join(tokens))
        assert call.anomalies in ([], ["deadline_missed"])
        assert {record.verdict for record in call.commands} == {"accepted"}
        call.hang_up()
        await call.wait_for_end()


async def test_text_without_full_stops_fills_the_buffer_and_goes_on(cluster: ClusterFactory) -> None:
    """jambonz refuses what does not fit; it is offered again, not lost."""
    running = await cluster(APP)
    tokens = ["x" * 450, "y" * 450, "z" * 450, " and the end. "]
    async with live_call(f"{running.url}/speaking", Script(), FAST) as call:
        await call.wait_for_verb("gather")
        await call.send_hook("/beside", args={"tokens": [f"{token} " for token in tokens]})
        assert (await told(call))["cut"] is False
        await call.wait_for("all is spoken", lambda it: len(spoken(it)) >= sum(map(len, tokens)))
        assert spoken(call).replace(" ", "") == "".join(tokens).replace(" ", "")
        call.hang_up()
        await call.wait_for_end()


async def test_an_interruption_reaches_the_running_handler(cluster: ClusterFactory) -> None:
    """While the handler holds the mailbox; nothing is offered afterwards."""
    running = await cluster(APP)
    # 2,000 characters that have no end of a sentence stay in the buffer.
    tokens = ["x" * 100] * 20
    async with live_call(f"{running.url}/speaking", Script(), FAST) as call:
        await call.wait_for_verb("gather")
        call.start_hook("/here", args={"tokens": tokens})
        await call.wait_for("the buffer is full", lambda it: it.core.session.tts.size_chars == 1000)
        call.send_notice("tts:streaming-event", {"event_type": "user_interruption"})
        answer = await told(call)
        assert answer["cut"] is True
        assert len(str(answer["taken"])) == 1000
        call.hang_up()
        await call.wait_for_end()


async def test_speech_survives_a_lost_websocket(cluster: ClusterFactory) -> None:
    """The gateway that had it goes away; what was not taken goes on over the other one."""
    running = await cluster(APP)
    tokens = ["x" * 450 + " ", "y" * 450 + " ", "z" * 450 + " ", "end. "]
    async with live_call(f"{running.url}/speaking", Script(), CallOptions(speed=1)) as call:
        await call.wait_for_verb("gather")
        await call.send_hook("/beside", args={"tokens": tokens})
        # The third does not fit, so nothing is under way when the socket is lost.
        await call.wait_for("the buffer is full", lambda it: sum(c.command == "tts:tokens" for c in it.commands) == 3)
        call.drop_socket()
        await call.wait_for_sockets(2)
        assert await told(call) == {"taken": "".join(tokens), "cut": False}
        await call.wait_for("all is spoken", lambda it: spoken(it) == "".join(tokens))
        call.hang_up()
        await call.wait_for_end()


async def test_hang_up_ends_the_speech_of_a_handler(cluster: ClusterFactory) -> None:
    """The call leaves Redis at once, although its handler was waiting for room."""
    running = await cluster(APP)
    async with live_call(f"{running.url}/speaking", Script(), CallOptions(speed=1)) as call:
        await call.wait_for_verb("gather")
        call.start_hook("/here", args={"tokens": ["x" * 450] * 20})
        await call.wait_for("the buffer is full", lambda it: it.core.session.tts.size_chars == 900)
        call.hang_up()
        result = await call.wait_for_end()
        assert result.outcome.kind == "completed"


async def test_many_calls_stream_side_by_side(cluster: ClusterFactory) -> None:
    """Each call's text stays its own."""
    running = await cluster(APP, gateways=2, workers=2)
    tokens = [f"word{number} " for number in range(200)]

    async def one(number: int) -> None:
        url = f"{running.gateways[number % 2].url}/speaking"
        mine = [f"call{number} ", *tokens, "end. "]
        async with live_call(url, Script(), FAST) as call:
            await call.wait_for_verb("gather", timeout_s=30)
            call.start_hook("/beside", args={"tokens": mine})
            assert await told(call, 60) == {"taken": "".join(mine), "cut": False}
            await call.wait_for("all is spoken", lambda it: spoken(it) == "".join(mine))
            call.hang_up()
            await call.wait_for_end()

    await asyncio.gather(*(one(number) for number in range(20)))

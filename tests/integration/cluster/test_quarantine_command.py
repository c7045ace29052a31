"""`jambonz-cluster quarantine`, against a real cluster."""

import json
from typing import Final

import orjson
import pytest
from redis.asyncio import Redis

from jambonz_shared.envelope import Envelope
from jambonz_shared.keys import Keys
from jambonz_simulator.client import live_call
from jambonz_simulator.core.script import Script
from tests.cluster_fixture import ClusterFactory
from tests.command_line import run_command

KEYS: Final = Keys()


async def run(what: str, *arguments: str, redis_url: str) -> tuple[int, str, str]:
    return await run_command("quarantine", what, "--redis-url", redis_url, *arguments)


async def quarantine(redis_url: str, call_sid: str) -> str:
    """Put a hook of a call into quarantine, as an adopter does after the third death, and return its id."""
    data = {"call_sid": call_sid, "args": {"payload": "mended"}}
    body = orjson.dumps({"type": "verb:hook", "msgid": "m9", "call_sid": call_sid, "hook": "/echo", "data": data})
    envelope = Envelope(call_sid, 1, 9, "verb:hook", "m9", 1, "g1", is_acked=False, body=body, deaths=3)
    async with Redis.from_url(redis_url) as redis:
        entry = await redis.xadd(
            KEYS.quarantine, {"e": envelope.encode(), "dispatch": KEYS.dispatch("default").encode()}
        )
        assert isinstance(entry, bytes)
        return entry.decode()


async def test_replayed_event_is_handled_and_its_verbs_reach_the_call(cluster: ClusterFactory, redis_url: str) -> None:
    """Once the handler is mended, the caller gets what the handler had to say."""
    running = await cluster("examples.conformance:app")
    async with live_call(f"{running.url}/conformance", Script()) as call:
        await call.wait_for_verb("gather")
        event_id = await quarantine(redis_url, call.call_sid)
        code, out, _ = await run("list", "--json", redis_url=redis_url)
        [row] = json.loads(out)
        assert (code, row["id"], row["call_sid"], row["deaths"]) == (0, event_id, call.call_sid, 3)
        assert "mended" not in out, "data of callers is not shown"

        code, out, _ = await run("replay", event_id, redis_url=redis_url)
        assert (code, event_id in out) == (0, True)
        command = await call.wait_for_command("redirect")
        assert command.data == [{"verb": "tag", "data": {"echo": "mended"}}]
        assert await run("list", redis_url=redis_url) == (0, "0 events in quarantine\n", "")
        call.hang_up()
        await call.wait_for_end()


async def test_dropped_event_is_gone_and_an_unknown_one_is_an_error(redis_url: str) -> None:
    """An operator decides what becomes of an event."""
    event_id = await quarantine(redis_url, "call-1")
    code, out, _ = await run("list", redis_url=redis_url)
    assert (code, out.splitlines()[-1]) == (0, "1 events in quarantine")
    assert (await run("drop", event_id, redis_url=redis_url))[0] == 0
    for command in ("drop", "replay"):
        code, _, error = await run(command, event_id, redis_url=redis_url)
        assert (code, error) == (1, f"error: no event {event_id!r} is in quarantine; `quarantine list` names them\n")


@pytest.mark.parametrize("event_id", ["xx", "-", "+", "1"])
async def test_what_is_no_id_is_no_event(redis_url: str, event_id: str) -> None:
    """Redis would take some of them for a range, and refuse others in words that tell an operator nothing."""
    await quarantine(redis_url, "call-1")
    code, _, error = await run("drop", "--", event_id, redis_url=redis_url)
    assert (code, error) == (1, f"error: no event {event_id!r} is in quarantine; `quarantine list` names them\n")
    async with Redis.from_url(redis_url) as redis:
        assert await redis.delete(KEYS.quarantine) == 1


@pytest.mark.long
async def test_quarantine_without_redis_is_one_sentence() -> None:
    """What the link logs about its tries is left out."""
    code, out, error = await run("list", redis_url="redis://127.0.0.1:1/0")
    assert (code, out, error.count("\n")) == (1, "", 1)
    assert error.startswith("error: Redis does not answer: ")

"""`jambonz-cluster calls`, against a real gateway, worker and call."""

import json
from collections.abc import AsyncIterator

import pytest

from jambonz_simulator.client import LiveCall, live_call
from jambonz_simulator.core.script import Script
from tests.cluster_fixture import ClusterFactory
from tests.command_line import run_command
from tests.conditions import until

pytestmark = pytest.mark.lasting_clusters


async def run(*arguments: str, redis_url: str) -> tuple[int, str, str]:
    return await run_command("calls", *arguments, "--redis-url", redis_url)


@pytest.fixture
async def call(cluster: ClusterFactory) -> AsyncIterator[LiveCall]:
    """A live call that waits for commands."""
    running = await cluster("tests.apps.waiting:app")
    async with live_call(f"{running.url}/waiting", Script(name="waiting")) as call:
        await call.wait_for_verb("pause")
        yield call
        if call.result is None:
            call.hang_up()
            await call.wait_for_end()


async def test_list_shows_live_calls(call: LiveCall, redis_url: str) -> None:
    """An operator sees which calls live, and where."""
    code, out, _ = await run("list", redis_url=redis_url)
    head, row = out.splitlines()
    assert code == 0
    assert head.split() == ["call_sid", "app", "path", "status", "owner"]
    assert row.split()[:3] == [call.call_sid, "waiting", "/waiting"]


async def test_list_as_json_can_be_filtered_by_app(call: LiveCall, redis_url: str) -> None:
    """A script reads the list without parsing columns."""
    _, out, _ = await run("list", "--json", "--app", "waiting", redis_url=redis_url)
    assert [row["call_sid"] for row in json.loads(out)] == [call.call_sid]
    assert await run("list", "--app", "other", redis_url=redis_url) == (0, "no live calls\n", "")


async def test_show_tells_facts_and_state(call: LiveCall, redis_url: str) -> None:
    """What the application remembers of a call can be looked at."""
    code, out, _ = await run("show", call.call_sid, "--json", redis_url=redis_url)
    known = json.loads(out)
    assert code == 0
    assert known["state"] == {"purpose": "to be controlled"}
    assert known["facts"]["direction"] == "inbound"
    _, text, _ = await run("show", call.call_sid, redis_url=redis_url)
    assert 'state     {"purpose":"to be controlled"}\n' in text


async def test_command_reaches_the_call(call: LiveCall, redis_url: str) -> None:
    """Any process that reaches Redis can control any call (P5)."""
    tag = '[{"verb": "tag", "data": {"seen": true}}, {"verb": "pause", "length": 3600}]'
    assert await run("command", call.call_sid, "redirect", tag, redis_url=redis_url) == (0, "sent\n", "")
    await call.wait_for("the tag verb has run", lambda call: call.customer_data == {"seen": True})


async def test_hangup_ends_the_call(call: LiveCall, redis_url: str) -> None:
    """An operator ends a call that nobody else ends."""
    code, out, _ = await run("hangup", call.call_sid, "--json", redis_url=redis_url)
    assert (code, json.loads(out)) == (0, {"call_sid": call.call_sid, "outcome": "sent", "reason": ""})
    await call.wait_for_end()


async def test_call_that_does_not_exist_is_a_failure(redis_url: str) -> None:
    """A script notices that it came too late."""
    for command in (["show", "c0"], ["hangup", "c0"]):
        code, out, err = await run(*command, redis_url=redis_url)
        assert (code, out) == (1, "")
        assert err == "error: call 'c0' has ended or does not exist; nothing was sent\n"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param("0", "needs data: jambonz refuses null, 0, false and empty text", id="falsy"),
        pytest.param("{", "Invalid value for '[JSON]'", id="no_json"),
        pytest.param(json.dumps(["x" * 30_000]), "is over the 24000 bytes", id="too_big"),
    ],
)
async def test_command_that_jambonz_would_ignore_is_wrong_usage(
    call: LiveCall, redis_url: str, data: str, message: str
) -> None:
    """Nothing is sent, and the message says what is wrong with it."""
    code, _, err = await run("command", call.call_sid, "whisper", data, redis_url=redis_url)
    assert code == 2
    assert message in err


@pytest.mark.long
async def test_no_redis_is_a_failure(redis_url: str) -> None:
    """The sentence names the cause instead of a traceback."""
    code, out, err = await run("list", redis_url="redis://127.0.0.1:1/0")
    assert (code, out) == (1, "")
    assert err.startswith("error: Redis does not answer: ")
    assert "127.0.0.1:1" in err
    assert err.count("\n") == 1


async def test_fixture_leaves_no_live_call(call: LiveCall, redis_url: str) -> None:
    """P8: a call that has ended is gone from the list."""
    call.hang_up()
    await call.wait_for_end()

    async def is_gone() -> bool:
        return (await run("list", redis_url=redis_url))[1] == "no live calls\n"

    await until(is_gone, "the list is empty")

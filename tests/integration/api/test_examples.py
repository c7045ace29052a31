"""The examples through real gateways, Redis and workers, with callers of the simulator."""

from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from examples import call_centre, outbound
from jambonz_simulator import JAMBONZ_TIMING, CallOptions, Dial, Press, Script, live_call, simulate_call
from jambonz_workers import Account, Calls, NotCreated
from tests.cluster_fixture import ClusterFactory
from tests.conditions import until

pytestmark = pytest.mark.lasting_clusters

FAST = CallOptions(speed=20)


async def test_the_voice_agent_answers_uses_its_tool_and_can_be_interrupted(
    cluster: ClusterFactory, redis_url: str
) -> None:
    """A caller asks, asks for too much, and speaks over the answer."""
    running = await cluster("examples.voice_agent:app")
    async with (
        Calls.connect(redis_url) as calls,
        live_call(f"{running.url}/voice-agent", Script(), CallOptions(speed=5)) as call,
    ):
        spoken = call.core.session.tts.spoken
        await call.wait_for("it has greeted", lambda _: "How can I help you?" in "".join(spoken))
        remote = await calls.get(call.call_sid)

        async def turns(count: int) -> list[dict[str, object]]:
            found: list[dict[str, object]] = []

            async def are_done() -> bool:
                found[:] = (await remote.state())["turns"]
                return len(found) == count

            await until(are_done, f"{count} turns are over")
            return found

        await turns(1)
        await call.say("Are you open on Monday")
        await call.wait_for("it knows the hours", lambda _: "On monday we are nine to five." in "".join(spoken))
        await turns(2)
        await call.say("Tell me everything")
        await call.wait_for("it tells everything", lambda _: "much to say" in "".join(spoken))
        await call.say("On Sunday")
        await call.wait_for("it answers the new question", lambda _: "On sunday we are closed." in "".join(spoken))
        assert [turn["cut"] for turn in await turns(4)] == [False, False, True, False]
        call.hang_up()
        result = await call.wait_for_end()
        assert [it for it in result.anomalies if it.kind != "command_ignored"] == []


async def test_callers_wait_with_announcements_until_an_agent_takes_them(cluster: ClusterFactory) -> None:
    """The wait hook is asked again and again, and always answered."""
    running = await cluster("examples.call_centre:app")
    async with live_call(f"{running.url}/support", Script(queue_s=60), CallOptions(speed=60)) as call:
        await call.press("1")
        for count in (1, 2, 3):
            hook = await call.wait_for_hook("/support/wait", count=count)
            assert [verb["verb"] for verb in hook.verbs] == ["say", "play"]
        left = await call.wait_for_hook("/support/left")
        assert left.verbs[-1] == {"verb": "hangup"}
        result = await call.wait_for_end()
        assert result.is_good, result.anomalies
    agent = await simulate_call(f"{running.url}/agent", Script(patience_s=30), FAST)
    assert agent.is_good, agent.anomalies
    assert any(hook.hook == "/agent/served" for hook in agent.hooks)


async def test_a_supervisor_whispers_and_mutes(cluster: ClusterFactory, redis_url: str) -> None:
    """From another process, on the legs of a dial."""
    running = await cluster("examples.call_centre:app")
    script = Script(dials=(Dial(talk_s=None),))
    async with Calls.connect(redis_url) as calls, live_call(f"{running.url}/support", script, FAST) as call:
        await call.press("2")
        await call.wait_for("the specialist has answered", lambda it: it.core.session.child is not None)
        assert call.core.session.child is not None
        leg = call.core.session.child.call_sid
        await call_centre.whisper(calls, call.call_sid, "Ask for the contract")
        await call_centre.mute(calls, call.call_sid, leg)
        await call.wait_for_command("mute:status")
        assert [(it.command, it.verdict) for it in call.commands] == [
            ("whisper", "accepted"),
            ("mute:status", "accepted"),
        ]
        assert call.commands[1].call_sid == leg
        call.hang_up()
        await call.wait_for_end()


async def test_a_specialist_who_is_busy_sends_the_caller_to_the_queue(cluster: ClusterFactory) -> None:
    """By a redirect within the app."""
    running = await cluster("examples.call_centre:app")
    script = Script(steps=(Press("2"),), dials=(Dial(end="busy"),), queue_s=5)
    result = await simulate_call(f"{running.url}/support", script, FAST)
    assert result.is_good, result.anomalies
    hooks = [hook.hook for hook in result.hooks]
    assert hooks[1:4] == ["/support/menu", "/support/specialist", "/support/queue"]
    assert hooks[-1] == "/support/left"


@pytest.mark.parametrize("seconds", [120, 0.5], ids=["in_time", "too_long"])
async def test_voicemail_takes_a_message_and_ends_in_time(cluster: ClusterFactory, seconds: float) -> None:
    """Nobody answers; the caller presses the hash key, or talks until the timer rings."""
    running = await cluster("examples.voicemail:app")
    script = Script(dials=(Dial(end="no-answer"),), env_vars={"MAX_SECONDS": str(seconds)})
    async with live_call(f"{running.url}/voicemail", script, FAST) as call:
        await call.wait_for_verb("listen")
        if seconds > 1:
            # The simulator's listen hears no keys, so the hook comes by hand and its verbs are not run.
            assert (await call.send_hook("/voicemail/recorded")).verbs[-1] == {"verb": "hangup"}
            call.hang_up()
        else:
            await call.wait_for_command("redirect")
        result = await call.wait_for_end()
        assert result.outcome.kind == "completed"
        assert result.anomalies == ()


@pytest.mark.parametrize("digit", ["1", "2"], ids=["sales", "nobody"])
async def test_the_reception_hands_a_caller_to_sales(cluster: ClusterFactory, redis_url: str, digit: str) -> None:
    """Two apps of one cluster: sales gets what the reception has named, and owns the call from then on."""
    running = await cluster("examples.transfer:reception", others=["examples.transfer:sales"])
    script = Script(env_vars={"SALES_URL": f"{running.url}/sales"})
    async with Calls.connect(redis_url) as calls, live_call(f"{running.url}/reception", script, FAST) as call:
        await call.press(digit)
        if digit == "1":
            asked = await call.wait_for_hook(kind="session:redirect")
            assert asked.verbs[0]["say"]["text"] == f"Hello {script.from_number}, which product, 1 to 3?"
            remote = await calls.get(call.call_sid)
            assert (remote.app, remote.path) == ("sales", "/sales")
            assert await remote.state() == {"customer": script.from_number, "language": "en-US"}
            await call.press("3")
            assert (await call.wait_for_hook("/sales/product")).verbs[0]["text"] == "Product 3 is on its way."
        result = await call.wait_for_end()
        assert result.outcome.kind == "completed"
        assert result.is_good, result.anomalies
    if digit == "1":
        await until(lambda: "product=3 status=completed" in running.workers[1].log_text, "sales has sold")


async def test_hard_work_is_done_elsewhere(cluster: ClusterFactory, tmp_path: Path) -> None:
    """In a process of a pool, and in a thread; the worker warns of nobody who holds up its loop."""
    running = await cluster("examples.computing:app")
    async with live_call(f"{running.url}/computing", Script(), FAST) as call:
        await call.wait_for_verb("gather")
        await call.press("9999")
        answered = await call.wait_for_hook("/computing/number")
        assert answered.verbs[0]["text"] == "The largest prime number up to there is 9973."
        file = tmp_path / "caller"
        noted = await call.send_hook("/computing/note", {"file": str(file)})
        assert noted.verbs == [{"verb": "hangup"}]
        assert file.read_text() == Script().from_number
        call.hang_up()
        await call.wait_for_end()
    assert "held up" not in running.workers[0].log_text


async def test_outbound_calls_arrive_answered_or_not(cluster: ClusterFactory) -> None:
    """Statuses come before session:new; nobody home means that it never comes."""
    running = await cluster("examples.outbound:app")
    script = Script(direction="outbound", tag={"name": "Ada"}, steps=(Press("1"),))
    reached = await simulate_call(f"{running.url}/reminder", script, FAST)
    assert reached.is_good, reached.anomalies
    greeting = next(hook for hook in reached.hooks if hook.kind == "session:new").verbs[0]["say"]["text"]
    assert greeting.startswith("This is a reminder for Ada.")
    busy = Script(direction="outbound", tag={"name": "Bob"}, answer=Dial(end="busy"))
    soon_closed = replace(FAST, timing=replace(JAMBONZ_TIMING, failed_dial_close_s=0.1))
    missed = await simulate_call(f"{running.url}/reminder", busy, soon_closed)
    assert missed.outcome.kind == "unanswered"
    log = running.workers[0]
    await until(lambda: "completed, confirmed: True" in log.log_text, "the worker knows who will come")
    await until(lambda: "busy, confirmed: False" in log.log_text, "and who was busy")


async def test_outbound_calls_are_created_by_rest(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the SDK's client does; the double answers as the api-server (PROTOCOL.md section 9)."""
    asked: list[dict[str, object]] = []

    async def create(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer k"
        asked.append(await request.json())
        if len(asked) > 2:
            return web.json_response({"msg": "no"}, status=403)
        return web.json_response({"sid": f"call-{len(asked)}", "callId": "x"}, status=201)

    server = web.Application()
    server.router.add_post("/v1/Accounts/ac/Calls", create)
    runner = web.AppRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        for name, value in (("API_URL", f"http://127.0.0.1:{port}"), ("ACCOUNT_SID", "ac"), ("API_KEY", "k")):
            monkeypatch.setenv(f"JAMBONZ_{name}", value)
        monkeypatch.setenv("REDIS_URL", redis_url)
        assert await outbound.remind(("+2", "+3"), "+1", "wss://x.example/reminder") == ["call-1", "call-2"]
        assert asked[0]["from"] == "+1"
        assert asked[0]["to"] == {"type": "phone", "number": "+2"}
        assert asked[0]["tag"] == {"name": "+2"}
        async with Calls.connect(redis_url) as calls:
            account = Account(f"http://127.0.0.1:{port}", "ac", "k")
            with pytest.raises(NotCreated) as refused:
                await calls.create(account, "+1", {"type": "phone", "number": "+4"})
            assert refused.value.status == 403
            assert "api_key" not in repr(account)
            await runner.cleanup()
            with pytest.raises(NotCreated) as unreached:
                await calls.create(account, "+1", {"type": "phone", "number": "+4"})
            assert unreached.value.status == 0
    finally:
        await runner.cleanup()

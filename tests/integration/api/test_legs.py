"""Legs and rooms, as the examples do them: screened, parted, redirected to another application, in a conference."""

from typing import Final

import aiohttp
import pytest

from jambonz_simulator import CallOptions, Dial, LiveCall, Script, live_call
from jambonz_workers import Calls
from tests.cluster_fixture import ClusterFactory
from tests.conditions import until

pytestmark = pytest.mark.lasting_clusters

APP: Final = "examples.legs:app"
FAST: Final = CallOptions(speed=20)


async def connected(call: LiveCall) -> str:
    """Wait until the callee talks to the caller; return the leg's call_sid."""
    await call.wait_for("the callee has answered", lambda it: it.core.session.child is not None)
    assert call.core.session.child is not None
    return call.core.session.child.call_sid


@pytest.mark.parametrize("digit", ["1", "2"], ids=["accepts", "declines"])
async def test_a_callee_accepts_or_declines(cluster: ClusterFactory, digit: str) -> None:
    """``dial:confirm``, and the hooks of its verbs, come with the leg's own call."""
    running = await cluster(APP)
    survey = {"SURVEY_URL": f"{running.url}/legs"}
    script = Script(dials=(Dial(digits=digit, talk_s=None),), env_vars=survey)
    async with live_call(f"{running.url}/legs", script, FAST) as call:
        screened = await call.wait_for_hook("/legs/screen", kind="dial:confirm")
        assert [verb["verb"] for verb in screened.verbs] == ["gather"]
        answered = await call.wait_for_hook("/legs/screened")
        assert answered.verbs == ([] if digit == "1" else [{"verb": "hangup"}])
        if digit == "1":
            await connected(call)
        else:
            dialled = await call.wait_for_hook("/legs/dialled")
            assert [verb["verb"] for verb in dialled.verbs] == ["say", "hangup"]
            assert call.core.session.child is None
        call.hang_up()
        result = await call.wait_for_end()
        assert result.is_good, result.anomalies


async def test_a_late_answer_of_a_callee_does_not_hang_up_the_caller(cluster: ClusterFactory) -> None:
    """jambonz would do a redirect to the caller, whichever leg it names (PROTOCOL.md 2.9, 3.2)."""
    running = await cluster("tests.apps.screening:app", settings={"JAMBONZ_CLUSTER_ACK_DEADLINE": "0.2s"})
    async with live_call(f"{running.url}/screening", Script(dials=(Dial(talk_s=None),)), FAST) as call:
        pressed = await call.wait_for_hook("/pressed")
        assert pressed.verbs == [], "the gateway's own ack"
        await connected(call)

        metrics = f"http://127.0.0.1:{running.gateways[0].internal_port}/metrics"

        async def has_come_late() -> bool:
            async with aiohttp.ClientSession() as client, client.get(metrics) as response:
                return 'session_events_total{event="late_ack"} 1.0' in await response.text()

        await until(has_come_late, "the answer has come, too late")
        assert call.commands == []
        call.hang_up()
        assert not (await call.wait_for_end()).commands


async def test_a_leg_gets_a_life_of_its_own(cluster: ClusterFactory, redis_url: str) -> None:
    """By one command: the caller hears goodbye here, the callee goes on over a websocket of its own, with its state."""
    running = await cluster(APP)
    script = Script(dials=(Dial(talk_s=None),))
    async with Calls.connect(redis_url) as calls, live_call(f"{running.url}/legs", script, FAST) as call:
        await call.wait_for_hook("/legs/screened")
        leg = await calls.get(await connected(call))
        assert (await leg.state())["caller"] == script.from_number
        await call.send_hook("/legs/part", {"dtmf": "*"})
        adulting = await call.wait_for_hook(kind="session:adulting")
        assert adulting.is_acked

        async def is_alone() -> bool:
            return not await calls.exists(leg.sid) or "is_alone" in await leg.state()

        await until(is_alone, "the leg goes on alone")
        result = await call.wait_for_end()
        asked = {hook.hook: hook.verbs[0]["text"] for hook in result.hooks if hook.kind == "session:redirect"}
        assert asked == {"/legs/goodbye": "Goodbye.", "/legs/alone": "Please leave a note on the call."}
        assert [command.verdict for command in result.commands] == ["accepted"]
        assert result.is_good, result.anomalies


@pytest.mark.parametrize("where", ["another_cluster", "the_same_application"])
async def test_a_redirect_hands_the_call_to_another_application(
    cluster: ClusterFactory, redis_url: str, where: str
) -> None:
    """To one of somebody else's, or by its url to a path of the same: a second websocket, and both hear of the end."""
    if where == "another_cluster":
        running = await cluster(APP)
        apart = {"REDIS_URL": f"{redis_url.rpartition('/')[0]}/1", "KEY_PREFIX": "other:"}
        settings = {f"JAMBONZ_CLUSTER_{name}": value for name, value in apart.items()}
        other = await cluster("examples.survey:app", settings=settings)
    else:
        running = other = await cluster("tests.apps.legs_and_survey:app")
    script = Script(dials=(Dial(talk_s=1),), env_vars={"SURVEY_URL": f"{other.url}/survey"})
    async with live_call(f"{running.url}/legs", script, FAST) as call:
        redirected = await call.wait_for_hook(kind="session:redirect")
        assert redirected.verbs[0]["say"]["text"] == "How was it, from 1 to 5?"
        await call.press("5")
        answered = await call.wait_for_hook("/survey/answer")
        assert answered.verbs[0]["text"] == "Thank you."
        result = await call.wait_for_end()
        assert result.outcome.kind == "completed"
        assert result.is_good, result.anomalies


async def test_a_member_waits_is_muted_and_leaves(cluster: ClusterFactory, redis_url: str) -> None:
    """The wait hook is asked again and again; commands come from events of the room, and from elsewhere."""
    running = await cluster("examples.rooms:app")
    async with Calls.connect(redis_url) as calls, live_call(f"{running.url}/rooms", Script(), FAST) as call:
        await call.press("2")
        for count in (1, 2):
            waiting = await call.wait_for_hook("/rooms/wait", count=count)
            assert [verb["verb"] for verb in waiting.verbs] == ["say", "play"]
        muted = await call.wait_for_command("conf:participant-action")
        assert (muted.data, muted.verdict) == ({"action": "mute"}, "accepted")
        remote = await calls.get(call.call_sid)
        assert (await remote.state())["room"]["event"] == "join"
        await remote.participant("kick")
        left = await call.wait_for_hook("/rooms/left")
        assert left.verbs[-1] == {"verb": "hangup"}
        # The verbs of a hook that is the last word of a killed verb are not run.
        call.hang_up()
        result = await call.wait_for_end()
        assert result.is_good, result.anomalies

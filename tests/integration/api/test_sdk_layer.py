"""An application of the SDK on the cluster: real gateways and Redis, the worker in this process."""

import pytest

from jambonz_simulator import CallOptions, Dial, Script, live_call, simulate_call
from tests.apps import sdk_legs, sdk_menu
from tests.cluster_fixture import ClusterFactory


@pytest.fixture(autouse=True)
def settings(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in the environment of the script that would call ``create_endpoint``."""
    monkeypatch.setenv("JAMBONZ_CLUSTER_REDIS_URL", redis_url)
    monkeypatch.setenv("JAMBONZ_CLUSTER_INTERNAL_PORT", "0")
    monkeypatch.setenv("JAMBONZ_CLUSTER_DRAIN_TIMEOUT", "1s")


async def test_an_sdk_application_runs_and_survives_a_lost_gateway(cluster: ClusterFactory) -> None:
    """Its hooks, its replies, its commands in shapes that jambonz accepts, over a second websocket too."""
    running = await cluster("tests.apps.sdk_menu:app", gateways=1, workers=0)
    _, runner = await sdk_menu.serve()
    async with live_call(f"{running.url}/sdk", Script(), CallOptions(speed=20)) as call:
        await call.press("1")
        await call.wait_for_hook("/menu")
        await call.wait_for_command("dtmf", count=2)
        assert [(it.data, it.verdict) for it in call.commands] == [
            ({"dtmf": {"digit": "4"}}, "accepted"),
            ({"dtmf": {"digit": "2"}}, "accepted"),
        ]
        call.drop_socket()
        await call.wait_for_sockets(2)
        await call.press("2")
        result = await call.wait_for_end()
        assert result.outcome.kind == "completed"
        assert result.anomalies == ()
        verbs = [[verb["verb"] for verb in hook.verbs] for hook in result.hooks]
        assert verbs == [["say", "gather"], ["say", "gather"], [], ["say", "hangup"]]
    stranger = await simulate_call(f"{running.url}/nobody", Script(), CallOptions(speed=20))
    assert stranger.outcome.kind == "unanswered"
    await runner.cleanup()


async def test_a_callee_is_screened_and_parted_by_the_handlers_of_the_caller_s_session(cluster: ClusterFactory) -> None:
    """The callee's hooks get the callee's verbs: no command replaces the caller's dial."""
    running = await cluster("tests.apps.sdk_menu:app", gateways=1, workers=0)
    _, runner = await sdk_legs.serve()
    script = Script(dials=(Dial(digits="1", talk_s=None),))
    async with live_call(f"{running.url}/sdk", script, CallOptions(speed=20)) as call:
        await call.wait_for_hook("/screened")
        await call.wait_for("the callee has answered", lambda it: it.core.session.child is not None)
        assert call.commands == []
        await call.send_hook("/part", {"dtmf": "*"})
        await call.wait_for_hook("/note")
        call.hang_up()
        result = await call.wait_for_end()
    await runner.cleanup()
    assert result.anomalies == ()
    assert [command.data for command in result.commands] == [{"child_call_hook": "/alone"}]
    # The caller goes on beside the callee.
    assert {hook.hook or hook.kind: [verb["verb"] for verb in hook.verbs] for hook in result.hooks} == {
        "session:new": ["dial"],
        "/screen": ["gather"],
        "/screened": [],
        "/part": [],
        "/alone": ["say", "gather"],
        "session:adulting": [],
        "/dialled": ["say", "pause"],
        "/note": ["say", "hangup"],
    }

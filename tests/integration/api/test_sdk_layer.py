"""An application of the SDK on the cluster: real gateways and Redis, the worker in this process."""

import pytest

from jambonz_simulator import CallOptions, Script, live_call, simulate_call
from tests.apps.sdk_menu import serve
from tests.cluster_fixture import ClusterFactory


async def test_an_sdk_application_runs_and_survives_a_lost_gateway(
    cluster: ClusterFactory, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hooks, its replies, its commands in shapes that jambonz accepts, over a second websocket too."""
    monkeypatch.setenv("JAMBONZ_CLUSTER_REDIS_URL", redis_url)
    monkeypatch.setenv("JAMBONZ_CLUSTER_INTERNAL_PORT", "0")
    monkeypatch.setenv("JAMBONZ_CLUSTER_DRAIN_TIMEOUT", "1s")
    running = await cluster("tests.apps.sdk_menu:app", gateways=1, workers=0)
    _, runner = await serve()
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

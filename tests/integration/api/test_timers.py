"""Timers and a worker that is killed: another one rings, once."""

from jambonz_simulator import CallOptions, Script, live_call
from jambonz_workers import Calls
from tests.cluster_fixture import ClusterFactory


async def test_a_timer_rings_although_its_worker_was_killed(cluster: ClusterFactory, redis_url: str) -> None:
    """It is kept with the call's state, and armed again by whoever adopts the call."""
    running = await cluster("tests.apps.reminding:app", workers=2)
    async with (
        Calls.connect(redis_url) as calls,
        live_call(f"{running.url}/reminding", Script(), CallOptions()) as call,
    ):
        await call.wait_for_verb("pause")
        owner = (await calls.get(call.call_sid)).owner
        (victim,) = [worker for worker in running.workers if f"-{worker.pid}-" in owner]
        victim.kill()
        record = await call.wait_for_command("redirect")
        assert record.data[0] == {"verb": "say", "text": "Ada 1"}
        result = await call.wait_for_end()
        assert result.is_good, result.anomalies
        assert len(result.commands) == 1

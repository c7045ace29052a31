"""Tools through a real gateway, Redis and worker; the simulator's model goes on only with an answer in its shape."""

import pytest

from jambonz_simulator import CallOptions, Script, ToolCall, simulate_call
from tests.cluster_fixture import ClusterFactory

pytestmark = pytest.mark.lasting_clusters


@pytest.mark.parametrize("vendor", ["openai", "ultravox", "elevenlabs", "deepgram"])
async def test_the_model_takes_the_answer(cluster: ClusterFactory, vendor: str) -> None:
    """One that it can use, and one about arguments it got wrong."""
    running = await cluster("tests.apps.shop:app")
    model = (ToolCall("find_order", {"order_no": "A-77"}, "t1"), ToolCall("find_order", {"colour": "red"}, "t2"))
    script = Script(model=model, model_ends=True)
    result = await simulate_call(f"{running.url}/shop/{vendor}", script, CallOptions(speed=20))
    assert result.is_good, result.anomalies
    assert [command.verdict for command in result.commands] == ["accepted", "accepted"]
    assert [command.tool_call_id for command in result.commands] == ["t1", "t2"]

"""What callers of a load test do and expect, without a cluster."""

import pytest
from jambonz_load.scenarios import SCENARIOS, for_any_app

from tests.unit.simulator.stage import running

LISTEN = [{"verb": "gather", "input": ["speech"], "timeout": 10, "actionHook": "/turn"}]
LATER = [{"verb": "say", "text": "Please call again later."}, {"verb": "hangup"}]


@pytest.mark.parametrize("name", SCENARIOS)
def test_caller_who_only_hears_the_fallback_has_failed(name: str) -> None:
    """A load test of a cluster that loses every call must not pass."""
    stage = running(LATER, SCENARIOS[name].script, speed=10).advance(20)
    assert "expectation_unmet" in stage.anomalies()
    fallback = [{"verb": "say", "text": "Please call again later."}, {"verb": "hangup"}]
    stage = running(fallback, for_any_app(SCENARIOS[name].script)).advance(20)
    assert stage.anomalies() == ["script_unfinished"]


def test_voice_agent_has_eight_turns() -> None:
    """The caller hears the answer to the last one before hanging up."""
    stage = running(LISTEN, for_any_app(SCENARIOS["voice-agent"].script))
    turns = 0
    for _ in range(400):
        stage.advance(0.1)
        hooks = stage.sent("verb:hook", "/turn")
        if len(hooks) > turns and stage.result is None:
            turns = len(hooks)
            stage.ack(hooks[-1], LISTEN)
    assert turns == 8
    assert stage.result is not None
    assert stage.result.is_good

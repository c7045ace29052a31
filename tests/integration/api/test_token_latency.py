"""How long the first token of an utterance takes from ``write`` to the websocket, on the side of jambonz."""

from typing import Final

from jambonz_simulator import CallOptions, Script, live_call
from tests.chaos.figures import percentile, report
from tests.cluster_fixture import ClusterFactory

UTTERANCES: Final = 300
# The goal on an idle machine is 5 ms at p99; one that builds and tests something else at the same time gets more.
P50_LIMIT_MS: Final = 25.0
P99_LIMIT_MS: Final = 500.0


async def test_the_first_token_is_on_the_wire_at_once(cluster: ClusterFactory) -> None:
    """Through worker, Redis and gateway: nothing gathers text, nothing waits for a result before the first one."""
    running = await cluster("tests.apps.speaking:app")
    async with live_call(f"{running.url}/speaking", Script(), CallOptions(speed=20)) as call:
        await call.wait_for("the voice is connected", lambda it: it.core.session.tts.state == "open")
        call.start_hook("/timed", args={"count": UTTERANCES})

        def first_tokens() -> list[float]:
            """Return the delays, in milliseconds; what has no digits is the nudge behind a flush."""
            begun_s = call.core.world.ledger.started_at_s
            return [
                (begun_s + record.at_s) * 1000 - int(record.data["tokens"].removesuffix(". ")) / 1e6
                for record in call.commands
                if record.command == "tts:tokens" and record.data["tokens"].strip()
            ]

        await call.wait_for("all has been said", lambda _: len(first_tokens()) == UTTERANCES, 90)
        delays_ms = first_tokens()
        call.hang_up()
        await call.wait_for_end()
    p50_ms, p99_ms = percentile(delays_ms, 50), percentile(delays_ms, 99)
    report("first token on the wire", {"p50 (ms)": round(p50_ms, 2), "p99 (ms)": round(p99_ms, 2)})
    assert min(delays_ms) > 0
    assert p50_ms < P50_LIMIT_MS
    assert p99_ms < P99_LIMIT_MS

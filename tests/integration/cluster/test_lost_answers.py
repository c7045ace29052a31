"""An answer dies in its socket, between a gateway that has written it and jambonz that has not read it (ADR 0019)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from jambonz_simulator.client import LiveCall, live_call
from tests.chaos.proxy import Proxy
from tests.chaos.scene import metric
from tests.cluster_fixture import ClusterFactory, Member
from tests.conditions import until

# Longer than a look at the metrics takes on a crowded machine.
ON_ITS_WAY_S = 1.0


async def has_written(gateway: Member, count: float) -> bool:
    """Whether the gateway has written so many messages."""
    return await metric(gateway, "jambonz_gateway_sends_total") >= count


@asynccontextmanager
async def at_the_menu(gateway: Member) -> AsyncIterator[tuple[Proxy, LiveCall]]:
    """Have a caller hear the menu through a slow network, and goodbye at the end."""
    async with (
        Proxy([gateway.port]).listening() as network,
        live_call(f"ws://127.0.0.1:{network.port}/ivr") as call,
    ):
        await call.wait_for_verb("gather")
        network.delay_s = ON_ITS_WAY_S
        yield network, call
        await call.press("9")
        result = await call.wait_for_end()
    assert result.outcome.kind == "completed"


def cut(network: Proxy) -> None:
    """Lose what is on its way; what comes next is quick."""
    network.reset()
    network.delay_s = 0.0


@pytest.mark.cluster_too
async def test_the_caller_hears_an_answer_that_died_in_its_socket(cluster: ClusterFactory) -> None:
    """jambonz gives the hook up and tells so on its next websocket; without a command it would wait for ever."""
    running = await cluster("examples.ivr:app", gateways=1, workers=2)
    (gateway,) = running.gateways
    async with at_the_menu(gateway) as (network, call):
        before = await metric(gateway, "jambonz_gateway_sends_total")
        await call.press("1")
        await until(partial(has_written, gateway, before + 1), "the gateway has written the answer")
        cut(network)
        redirect = await call.wait_for_command("redirect")
        assert "nine to five" in str(redirect.data)
    assert [hook.dead_by for hook in call.hooks if hook.hook == "/menu"] == ["drop", None]


async def test_a_caller_whose_digit_died_in_its_socket_is_asked_again(cluster: ClusterFactory) -> None:
    """No worker has heard of the hook; what it hears is jambonz' report of it."""
    running = await cluster("examples.ivr:app", gateways=1, workers=1)
    (gateway,) = running.gateways
    async with at_the_menu(gateway) as (network, call):
        await call.press("1")
        await call.wait_for("the hook is on its way", lambda it: any(hook.hook == "/menu" for hook in it.hooks))
        cut(network)
        redirect = await call.wait_for_command("redirect")
        assert "Welcome" in str(redirect.data)

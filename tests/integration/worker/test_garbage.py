"""An ended call is gone at once: the garbage collector is tuned to come seldom (``tune_garbage_collection``)."""

import gc
from collections import Counter

from jambonz_workers import App, Call
from tests.conditions import until
from tests.integration.worker.conftest import Start
from tests.integration.worker.gateway_double import GatewayDouble

MADE = frozenset({"Call", "LiveCall", "CallState", "Works", "Phase", "Timers", "Mailbox", "Handling"})


def made() -> Counter[str]:
    return Counter(name for one in gc.get_objects() if (name := type(one).__name__) in MADE)


async def test_ended_calls_leave_nothing_for_the_garbage_collector(start: Start, gateway: GatewayDouble) -> None:
    """With work that ran in their background, too."""
    app = App()

    @app.session("/ivr")
    async def welcome(call: Call) -> object:
        call.spawn(note(call))
        return {"verb": "say", "text": "Hello"}

    async def note(call: Call) -> None:
        call.state["noted"] = True

    await start(app)

    async def play() -> None:
        line = await gateway.open()
        await line.start()
        await line.end()

    await play()
    gc.collect()
    before = made()
    gc.disable()
    try:
        for _ in range(3):
            await play()
        # Fewer, when what tests before this one have left is gone meanwhile.
        await until(lambda: made() <= before, "ended calls are gone")
    finally:
        gc.enable()

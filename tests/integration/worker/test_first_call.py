"""The path of a call through a worker: dispatch, claim, handler, commit, end."""

from jambonz_workers import App, Call, Event
from tests.integration.worker.conftest import Start
from tests.integration.worker.gateway_double import GatewayDouble

SAY = {"verb": "say", "text": "Hello"}


def ivr() -> App:
    app = App()

    @app.session("/ivr")
    async def welcome(call: Call, event: Event) -> object:
        return [SAY, {"verb": "gather", "input": ["digits"], "actionHook": "/menu"}]

    @app.hook("/menu")
    async def menu(call: Call, event: Event) -> object:
        call.state["tries"] = call.state.get("tries", 0) + 1
        return {"verb": "say", "text": f"{event.data['digits']} {call.state['tries']}"}

    return app


async def test_a_new_call_is_claimed_and_answered(start: Start, gateway: GatewayDouble) -> None:
    """The first event comes through dispatch; the next ones through the inbox of the worker that took it."""
    running = await start(ivr())
    line = await gateway.open()
    assert (await line.start())[0] == SAY
    assert line.owner == running.worker.id
    assert await line.hook("/menu", digits="3") == [{"verb": "say", "text": "3 1"}]
    assert await line.hook("/menu", digits="4") == [{"verb": "say", "text": "4 2"}]
    await line.end()
    assert await gateway.owned_by(running.worker.id) == set()
    await gateway.nothing_waits()

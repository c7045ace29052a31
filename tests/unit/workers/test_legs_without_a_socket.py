"""A leg of a dial shares its parent's websocket: what would end the parent is refused."""

import pytest

from jambonz_shared.redis.scripts import CallRecord
from jambonz_workers import App, Call, WouldEndParent
from jambonz_workers.call_facts import CallFacts
from jambonz_workers.calls import RemoteCall
from jambonz_workers.facts import encode_facts
from jambonz_workers.testing import AppClient, Reaction

LEG = {"parent_call_sid": "a", "call_status": "in-progress"}


@pytest.mark.parametrize("command", ["hangup", "no_answer"])
async def test_hangup_of_a_leg_does_not_end_the_parent(command: str) -> None:
    """jambonz ignores the leg of call:status, so it would; the error says what ends the leg alone."""
    async with AppClient(App(), call_sid="b") as client:
        await client.send("call:status", {**LEG, "call_status": "ringing"})
        with pytest.raises(WouldEndParent, match=r"child_call_hook") as caught:
            getattr(client.call, command)()
        error = caught.value
        assert (error.call_sid, error.command, error.parent_call_sid) == ("b", command.replace("_", "-"), "a")
        assert client.commands == []


async def test_a_leg_on_its_own_is_ended_by_itself() -> None:
    """After ``session:adulting`` it has a websocket, and commands there are its own."""
    async with AppClient(App(), call_sid="b") as client:
        await client.send("call:status", LEG)
        await client.send("session:adulting", {**LEG, "parent_call_info": {"call_sid": "a"}})
        client.call.hangup()
        assert [(it["command"], it["callSid"]) for it in client.commands] == [("call:status", "b")]


def test_a_leg_seen_from_outside_is_not_ended_either() -> None:
    """``Calls.get`` knows the same facts; what it would send must not be asked for."""
    remote = RemoteCall("b", None, CallRecord(facts=encode_facts({"parent_call_sid": "a"})))  # type: ignore[arg-type]
    assert isinstance(remote, CallFacts)
    with pytest.raises(WouldEndParent, match="'a'"):
        remote.hangup()


async def test_timer_of_a_leg_does_not_end_the_dial(caplog: pytest.LogCaptureFixture) -> None:
    """jambonz would do the redirect to the parent, whatever its leg (PROTOCOL.md 3.2)."""
    app = App()

    @app.hook("/screen")
    async def screen(call: Call) -> None:
        call.after(60, "/nag")

    @app.hook("/nag")
    async def nag(call: Call) -> object:
        return {"verb": "say", "text": "You have talked for a while."}

    async with AppClient(app, call_sid="b") as client:
        await client.send("dial:confirm", LEG, hook="/screen")
        assert await client.fire("/nag") == Reaction(None)
        await client.send("session:adulting", {**LEG, "parent_call_info": {"call_sid": "a"}})
        await client.hook("/screen")
        assert [frame["command"] for frame in (await client.fire("/nag")).commands] == ["redirect"]
    assert "a leg without a websocket of its own returned verbs" in caplog.records[0].message

"""Timers of a call: set with a handler's effects, kept with its state, run as its other handlers. Through AppClient."""

import asyncio
from datetime import date
from typing import Any

import pytest

from jambonz_workers import App, Call, CallLost, Event
from jambonz_workers.testing import AppClient
from tests.conditions import until


def reminding() -> App:
    app = App()

    @app.hook("/start")
    async def start(call: Call, event: Event) -> object:
        call.state["id"] = call.after(event.data["seconds"], "/remind", {"who": "Ada"})
        return {"verb": "pause"}

    @app.hook("/remind")
    async def remind(call: Call, event: Event) -> None:
        assert event.kind == "cluster:timer"
        call.state["reminded"] = call.state.get("reminded", 0) + 1
        await call.redirect({"verb": "say", "text": event.data["who"]})

    @app.hook("/cancel")
    async def cancel(call: Call) -> None:
        call.state["cancelled"] = call.cancel_timer(call.state["id"])

    @app.hook("/fails")
    async def fails(call: Call) -> None:
        call.after(0, "/never")
        raise RuntimeError

    @app.hook("/works")
    async def works(call: Call) -> None:
        call.spawn(set_beside(call))

    async def set_beside(call: Call) -> None:
        call.state["id"] = call.after(60, "/remind", {"who": "Bob"})

    return app


async def test_a_timer_runs_its_handler_once() -> None:
    """With the data it was given, in its turn."""
    async with AppClient(reminding()) as client:
        await client.hook("/start", seconds=0)
        await until(lambda: bool(client.commands), "the timer has run")
        assert client.commands[0]["data"] == [{"verb": "say", "text": "Ada"}]
        assert client.state["reminded"] == 1
        assert client.call.state.own("@timers") is None
        with pytest.raises(LookupError, match="no timer"):
            await client.fire("/remind")


async def test_verbs_that_a_timers_handler_returns_go_out_by_a_redirect() -> None:
    """As with any other hook its author returns what the caller is to hear; an empty list changes nothing."""
    app = App()

    @app.hook("/start")
    async def start(call: Call, event: Event) -> None:
        call.after(3600, "/speak", event.data)

    @app.hook("/speak")
    async def speak(_: Call, event: Event) -> object:
        return [{"verb": "say", "text": text} for text in event.data["texts"]]

    async with AppClient(app) as client:
        await client.hook("/start", texts=["Hurry"])
        (command,) = (await client.fire("/speak")).commands
        assert (command["command"], command["queueCommand"]) == ("redirect", False)
        assert command["data"] == [{"verb": "say", "text": "Hurry"}]
        await client.hook("/start", texts=[])
        assert (await client.fire("/speak")).commands == []


async def test_a_timer_that_nobody_handles_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A misspelt path would otherwise be silence."""
    app = App()

    @app.hook("/start")
    async def start(call: Call) -> None:
        call.after(3600, "/nobody")

    async with AppClient(app) as client:
        await client.hook("/start")
        await client.fire("/nobody")
    assert [(it.getMessage(), it.__dict__["hook"]) for it in caplog.records] == [
        ("no @app.hook for the path of a timer", "/nobody")
    ]


async def test_a_test_lets_a_timer_ring() -> None:
    """Without waiting for it."""
    async with AppClient(reminding()) as client:
        await client.hook("/start", seconds=3600)
        assert [it["data"][0]["text"] for it in (await client.fire("/remind")).commands] == ["Ada"]


async def test_applications_do_not_see_where_timers_are_kept() -> None:
    """And cannot break it."""
    async with AppClient(reminding()) as client:
        await client.hook("/start", seconds=3600)
        assert set(client.call.state) == set(client.state) == {"id"}
        assert "@timers" not in client.call.state
        with pytest.raises(KeyError):
            client.call.state["@timers"]
        with pytest.raises(KeyError):
            del client.call.state["@timers"]
        with pytest.raises(ValueError, match="the cluster's own"):
            client.call.state["@timers"] = {}


async def test_a_cancelled_timer_does_not_run() -> None:
    """Not even if it rang just before and waits for its turn."""
    async with AppClient(reminding()) as client:
        await client.hook("/start", seconds=3600)
        await client.hook("/cancel")
        assert client.state["cancelled"]
        await client.hook("/cancel")
        assert not client.state["cancelled"]
        await client.hook("/start", seconds=0)
        await client.hook("/cancel")
        await asyncio.sleep(0)
        await client.settle()
        assert client.commands == []


@pytest.mark.parametrize("how", ["cancelled", "run"])
async def test_the_other_timers_of_a_call_stay_when_one_is_done(how: str) -> None:
    """Each stands for a promise of the application."""
    async with AppClient(reminding()) as client:
        await client.hook("/start", seconds=7200)
        await client.hook("/start", seconds=3600)
        await (client.hook("/cancel") if how == "cancelled" else client.fire("/remind"))
        assert len(client.call.state.own("@timers")) == 1
        await client.fire("/remind")
        assert client.state["reminded"] == (1 if how == "cancelled" else 2)


async def test_a_handler_that_fails_sets_no_timer() -> None:
    """As none of its effects is kept."""
    async with AppClient(reminding(), raises=False) as client:
        await client.hook("/fails")
        assert client.call.state.own("@timers") is None


async def test_a_timer_whose_handler_fails_has_had_its_run() -> None:
    """It does not ring again at the next worker."""
    app = reminding()

    @app.hook("/bad")
    async def bad(call: Call) -> None:
        raise RuntimeError

    @app.hook("/set")
    async def begin(call: Call) -> None:
        call.after(3600, "/bad")

    async with AppClient(app, raises=False) as client:
        await client.hook("/set")
        await client.fire("/bad")
        assert client.call.state.own("@timers") is None


async def test_background_work_sets_timers_that_are_saved_at_once() -> None:
    """There is no handler to save them with."""
    async with AppClient(reminding()) as client:
        await client.hook("/works")
        await client.settle()
        assert (await client.fire("/remind")).commands
        await client.hook("/works")
        await client.settle()
        assert client.call.cancel_timer(client.call.state["id"])
        with pytest.raises(LookupError):
            await client.fire("/remind")


async def test_timer_of_background_work_is_saved_while_the_work_goes_on() -> None:
    """P6: its worker may die before the work ends, which may be as late as the call."""
    app = App()

    async def for_ever(call: Call) -> None:
        call.after(3600, "/remind")
        await asyncio.Event().wait()

    @app.hook("/works")
    async def works(call: Call) -> None:
        call.spawn(for_ever(call))

    async with AppClient(app) as client:
        await client.hook("/works")
        await until(lambda: "@timers" in client.call.state.stored, "it is saved")


async def test_timers_of_a_call_that_was_lost_do_not_ring() -> None:
    """The new owner has them; a ring would make this worker claim the call."""
    async with AppClient(reminding()) as client:
        await client.hook("/start", seconds=0.01)
        client.call.release(CallLost(client.call.sid, "w2"))
        later = asyncio.Event()
        asyncio.get_running_loop().call_later(0.02, later.set)
        await later.wait()
        assert client._told == []


async def test_the_end_of_a_call_ends_its_timers() -> None:
    """Nothing of it runs afterwards."""
    async with AppClient(reminding()) as client:
        await client.hook("/start", seconds=0.01)
        await client.end()
        # A timer of the same loop, armed later for as long: by then that of the call would have rung.
        later = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, later.set)
        await later.wait()
        assert client.commands == []


def _any(value: Any) -> Any:
    return value


async def test_mistakes_are_told_at_once() -> None:
    """Not when it rings."""
    async with AppClient(reminding()) as client:
        with pytest.raises(ValueError, match="seconds from 0"):
            client.call.after(-1, "/x")
        for never in (float("nan"), float("inf"), 1e10):
            with pytest.raises(ValueError, match="seconds from 0 to 1,000,000,000"):
                client.call.after(never, "/x")
        with pytest.raises(ValueError, match="variables filled in"):
            client.call.after(1, "/x/{step}")
        assert client.state == {}
        with pytest.raises(ValueError, match="path"):
            client.call.after(1, "x")
        with pytest.raises(TypeError, match="expected a number of seconds, got str"):
            client.call.after(_any("5"), "/x")
        with pytest.raises(TypeError, match="expected a dict as data, got list"):
            client.call.after(5, "/x", _any([1]))
        with pytest.raises(TypeError, match="timer data"):
            client.call.after(1, "/x", {"x": object()})


async def test_data_of_a_timer_tell_nothing_of_the_call() -> None:
    """An application may keep an event as it was; the call has moved on since."""
    app = App()

    @app.on("call:status")
    async def status(call: Call, event: Event) -> None:
        if event.data["call_status"] == "ringing":
            call.after(60, "/check", event.data)

    @app.hook("/check")
    async def check(call: Call) -> None:
        call.state["status"] = call.status

    async with AppClient(app) as client:
        await client.send("call:status", {"call_status": "ringing"})
        await client.send("call:status", {"call_status": "in-progress"})
        await client.fire("/check")
        assert client.state["status"] == "in-progress"


async def test_data_of_a_timer_are_what_json_makes_of_them() -> None:
    """As they are at a worker that reads them from Redis; a model or a date must not stop the handler's commit."""
    app = App()

    @app.hook("/start")
    async def start(call: Call) -> object:
        call.after(60, "/later", {"on": date(2026, 11, 22), "places": (1, 2)})
        return {"verb": "pause", "length": 1}

    @app.hook("/later")
    async def later(call: Call, event: Event) -> None:
        call.state["data"] = dict(event.data)

    async with AppClient(app) as client:
        assert (await client.hook("/start")).verbs == [{"verb": "pause", "length": 1}]
        await client.fire("/later")
        assert client.state["data"] == {"on": "2026-11-22", "places": [1, 2]}


async def test_timer_that_background_work_has_set_outlives_a_handler_that_fails() -> None:
    """The work has been given its id, and knows nothing of the handler."""
    app = App()
    go, is_set = asyncio.Event(), asyncio.Event()

    async def beside(call: Call) -> None:
        await go.wait()
        call.after(60, "/remind")
        is_set.set()

    @app.hook("/start")
    async def start(call: Call) -> None:
        call.spawn(beside(call))

    @app.hook("/fails")
    async def fails(call: Call) -> None:
        go.set()
        await is_set.wait()
        raise RuntimeError

    @app.hook("/remind")
    async def remind(call: Call) -> None:
        call.state["reminded"] = True

    async with AppClient(app, raises=False) as client:
        await client.hook("/start")
        await client.hook("/fails")
        await client.settle()
        await client.fire("/remind")
        assert client.state == {"reminded": True}


async def test_a_timer_of_a_test_waits_for_its_turn() -> None:
    """As in a worker, where one handler of a call runs at a time; a test would see what can never happen."""
    app, seen, is_free = App(), list[str](), asyncio.Event()

    @app.hook("/slow")
    async def slow(call: Call) -> object:
        call.after(0, "/ring")
        await call.ack({"verb": "pause"})
        seen.append("armed")
        await is_free.wait()
        seen.append("slow ends")
        return None

    @app.hook("/ring")
    async def ring(call: Call) -> None:
        seen.append("ring begins")
        is_free.clear()
        await is_free.wait()
        seen.append("ring ends")

    @app.hook("/next")
    async def following(call: Call) -> None:
        seen.append("next")

    @app.on("call:status")
    async def status(call: Call) -> None:
        is_free.set()

    async with AppClient(app) as client:
        running = asyncio.create_task(client.hook("/slow"))
        await until(lambda: bool(client._told), "the timer is due")
        for _ in range(5):
            await asyncio.sleep(0)
        assert seen == ["armed"]
        is_free.set()
        await running
        await until(lambda: "ring begins" in seen, "the timer rings")
        behind = asyncio.create_task(client.hook("/next"))
        for _ in range(5):
            await asyncio.sleep(0)
        await client.send("call:status")
        await behind
        await client.settle()
    assert seen == ["armed", "slow ends", "ring begins", "ring ends", "next"]

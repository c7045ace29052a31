"""Which call a log line of an application is about."""

import asyncio
import logging
from typing import Any

import pytest

from jambonz_workers import App, Call
from jambonz_workers.call_logs import call_sid_in_logs
from jambonz_workers.testing import AppClient

log = logging.getLogger("an_application")


async def in_handler(call: Call) -> None:
    log.warning("handler")
    await asyncio.create_task(task())
    call.spawn(work())


async def task() -> None:
    log.warning("task")


async def work() -> None:
    log.warning("work")
    await asyncio.to_thread(log.warning, "thread of work")


def in_thread(call: Call) -> None:
    log.warning("thread")


async def of_its_own(call: Call) -> None:
    log.warning("own", extra={"call_sid": "another"})
    logging.getLogger("jambonz_shared.redis.link").warning("ours")


def app() -> App:
    app = App()
    app.hook("/handler")(in_handler)
    app.hook("/thread")(in_thread)
    app.hook("/own")(of_its_own)
    return app


async def lines_of(hook: str, caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """Return the ``call_sid`` of each line that was written for a hook."""
    async with AppClient(app(), call_sid="c1") as client:
        with call_sid_in_logs():
            await client.hook(hook)
            await client.settle()
    return {record.message: getattr(record, "call_sid", None) for record in caplog.records}


async def test_lines_of_handlers_and_their_work_name_the_call(caplog: pytest.LogCaptureFixture) -> None:
    """Of a thousand calls at once nobody could tell whose they are."""
    assert await lines_of("/handler", caplog) == dict.fromkeys(("handler", "task", "work", "thread of work"), "c1")


async def test_lines_of_a_thread_name_the_call(caplog: pytest.LogCaptureFixture) -> None:
    """Libraries that block log there."""
    assert await lines_of("/thread", caplog) == {"thread": "c1"}


async def test_lines_that_say_it_themselves_are_left_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    """A line about Redis is of no call, whoever has woken its connection."""
    assert await lines_of("/own", caplog) == {"own": "another", "ours": None}


async def test_lines_outside_of_calls_name_none(caplog: pytest.LogCaptureFixture) -> None:
    """The block leaves the handlers of the log as they were, too."""
    with call_sid_in_logs():
        log.warning("start")
    assert not hasattr(caplog.records[0], "call_sid")
    assert await _after_the_block(caplog) is None


async def _after_the_block(caplog: pytest.LogCaptureFixture) -> Any:
    async with AppClient(app(), call_sid="c1") as client:
        await client.hook("/thread")
    return getattr(caplog.records[-1], "call_sid", None)

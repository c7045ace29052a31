"""Annotations that tell a handler's event and a tool's arguments, as text: names for type checkers are not there."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated

import pytest

from jambonz_workers import App
from jambonz_workers.events import CallStatus, GatherResult, VerbStatus
from jambonz_workers.testing import AppClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from jambonz_workers import Call, Event
    from jambonz_workers.events import DialResult


async def plain(call: Call, event: GatherResult) -> None:
    """The call's annotation does not matter."""


async def optional(call: Call, event: GatherResult | None) -> None:
    """As some checkers want a default to be written."""


async def annotated(call: Call, event: Annotated[GatherResult, "of the menu"]) -> None:
    """With a note."""


async def given_more(menu: str, call: Call, event: GatherResult) -> None:
    """To be made a partial."""


@functools.wraps(plain)
async def wrapped(*arguments: object) -> None:
    """What a decorator gives."""


class Menu:
    async def __call__(self, call: Call, event: GatherResult) -> None:
        """The object is the handler."""

    async def choose(self, call: Call, event: GatherResult) -> None:
        """A method is."""


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(plain, id="function"),
        pytest.param(optional, id="optional"),
        pytest.param(annotated, id="annotated"),
        pytest.param(functools.partial(given_more, "main"), id="partial"),
        pytest.param(wrapped, id="wrapped"),
        pytest.param(Menu(), id="object"),
        pytest.param(Menu().choose, id="method"),
    ],
)
def test_a_handler_gets_the_class_it_asks_for_however_it_is_written(function: Callable[..., object]) -> None:
    """Otherwise it fails at the first call, by an AttributeError."""
    app = App()
    app.hook("/menu")(function)
    (route,) = app.hooks
    assert route.handler.event_type is GatherResult


async def dialled(call: Call, event: DialResult) -> None:
    """Nobody has imported it."""


async def either(call: Call, event: GatherResult | CallStatus) -> None:
    """It can be one of them only."""


@pytest.mark.parametrize(
    ("function", "text"),
    [
        pytest.param(dialled, "dialled: the annotation 'DialResult' of 'event' cannot be read", id="not_there"),
        pytest.param(either, "either: 'event' cannot be both CallStatus and GatherResult", id="two"),
    ],
)
def test_an_annotation_that_tells_no_class_is_refused(function: Callable[..., object], text: str) -> None:
    """Where it is written, with what to do."""
    with pytest.raises(TypeError, match=text):
        App().hook("/menu")(function)


def test_the_plain_event_need_not_be_there() -> None:
    """It is what a handler gets in any case, so linters that move its import are right."""

    async def status(call: Call, event: Event) -> None:
        """Take anything."""

    App().on("call:status")(status)


async def test_the_end_and_a_takeover_come_as_the_class_that_is_asked_for() -> None:
    """As any other event."""
    app, seen = App(), list[str]()

    @app.on_end
    async def ended(call: Call, event: CallStatus) -> None:
        seen.append(f"{event.kind} {event.is_final}")

    @app.takeover
    async def resumed(call: Call, event: VerbStatus) -> None:
        seen.append(f"{event.kind} {event.verb!r}")

    async with AppClient(app) as client:
        await client._runner.takeover(client.call, CallStatus("cluster:takeover", "test-call", {}), lambda _: None)
        await client.end()
    assert seen == ["cluster:takeover ''", "cluster:ended False"]


def test_a_tool_need_not_have_the_class_of_its_call() -> None:
    """Its name says what it is; of the arguments the model must be told."""
    app = App()

    @app.tool("find")
    async def find(call: Call, number: int) -> None:
        """Find it."""

    with pytest.raises(TypeError, match="the annotation 'DialResult' of 'number' cannot be read"):

        @app.tool("lose")
        async def lose(call: Call, number: DialResult) -> None:
            """Nobody knows what the model may give."""

    assert app.toolbox.tools["find"].wants_call
    assert app.toolbox.tools["find"].schema["properties"]["number"]["type"] == "integer"

"""Mistakes that type checkers must find. Each line says which error it expects; one that is not found is an error."""

from jambonz_workers import App, Call, Calls, Event
from jambonz_workers.events import GatherResult

app = App(target="11")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@app.hook("/late", late="never")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
async def late(call: Call) -> None: ...


@app.hook("/nothing")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
async def takes_nothing() -> None: ...


@app.hook("/turned")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
async def takes_them_turned(event: Event, call: Call) -> None: ...


@app.on_error  # type: ignore[type-var]  # pyright: ignore[reportArgumentType, reportUntypedFunctionDecorator]
async def forgets_the_error(call: Call, event: Event) -> None: ...


@app.hook("/menu")
async def menu(call: Call, event: GatherResult) -> None:
    digits: int = event.digits  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    event.transscript  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]  # noqa: B018
    event.kind = "x"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    call.state[1] = digits  # type: ignore[index]  # pyright: ignore[reportArgumentType]
    await call.mutes()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await call.dtmf(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await call.record("begin")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await call.participant("ban")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await call.dub("add", "music")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await call.media_path("none")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await call.agent_update("forget")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await call.redirect([], True, "a-leg")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    call.spawn(takes_nothing)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    call.after("5", "/menu")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with call.tts_stream() as speech:
        await speech.write(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def from_outside(calls: Calls) -> None:
    call = await calls.get("sid")
    await call.ack([])  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await calls.create("account", "+1", {})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

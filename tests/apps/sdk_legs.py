"""An application of the SDK that screens a callee and parts caller and callee; its handlers share one session."""

from typing import Any

from jambonz_workers.contrib.sdk import Service, Session, create_endpoint


async def serve() -> tuple[Service, Any]:
    make_service, runner = await create_endpoint(port=3000)
    service = make_service(path="/sdk")
    service.on("session:new", handle_session)
    service.on("session:redirect", handle_callee)
    return service, runner


async def handle_session(session: Session) -> None:
    async def on_screen(_: dict[str, Any]) -> None:
        session.gather(input=["digits"], numDigits=1, timeout=60, actionHook="/screened")
        await session.reply()

    async def on_screened(event: dict[str, Any]) -> None:
        if event.get("digits") != "1":
            session.hangup()
        await session.reply()

    async def on_part(_: dict[str, Any]) -> None:
        await session.reply()
        await session.inject_command("redirect", {"child_call_hook": "/alone"})

    async def on_dialled(_: dict[str, Any]) -> None:
        session.say(text="Please hold").pause(length=60)
        await session.reply()

    session.on("/screen", on_screen)
    session.on("/screened", on_screened)
    session.on("/part", on_part)
    session.on("/dialled", on_dialled)
    session.dial(
        target=[{"type": "phone", "number": "+14155550122"}],
        confirmHook="/screen",
        dtmfHook="/part",
        dtmfCapture=["*"],
        actionHook="/dialled",
    )
    await session.send()


async def handle_callee(session: Session) -> None:
    async def on_note(_: dict[str, Any]) -> None:
        session.say(text="Thank you").hangup()
        await session.reply()

    session.on("/note", on_note)
    session.say(text="Please leave a note").gather(input=["digits"], timeout=1, actionHook="/note")
    await session.reply()

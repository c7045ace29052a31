"""An application as the SDK's documentation writes them; only its import says that it runs on the cluster."""

from typing import Any

from jambonz_workers.contrib.sdk import Service, Session, create_endpoint


async def serve() -> tuple[Service, Any]:
    make_service, runner = await create_endpoint(port=3000, env_vars={"A": {"type": "string", "description": "a"}})
    service = make_service(path="/sdk")
    service.on("session:new", handle_session)
    return service, runner


async def handle_session(session: Session) -> None:
    async def on_menu(event: dict[str, Any]) -> None:
        if event.get("digits") == "1":
            session.say(text="You pressed one").gather(input=["digits"], numDigits=1, timeout=60, actionHook="/menu")
            await session.reply()
            await session.inject_dtmf("42")
        else:
            session.say(text="Goodbye").hangup()
            await session.reply()

    def on_status(event: dict[str, Any]) -> None:
        session.locals["status"] = event["call_status"]

    session.on("/menu", on_menu)
    session.on("call:status", on_status)
    session.say(text=f"Hello {session.from_}").gather(input=["digits"], numDigits=1, timeout=60, actionHook="/menu")
    await session.send()

"""A parrot, as the SDK's documentation writes applications; only its import says that it runs on the cluster.

It counts what it heard twice: in ``session.locals``, which is the SDK's, and in ``session.call.state``, the cluster's.
Run as ``python -m tests.apps.sdk_echo``.
"""

import asyncio
from typing import Any

from jambonz_workers.contrib.sdk import Session, create_endpoint

LISTEN = {"input": ["speech"], "actionHook": "/echo", "timeout": 600}


async def handle_session(session: Session) -> None:
    session.locals["heard"] = 0

    async def on_echo(event: dict[str, Any]) -> None:
        words = event["speech"]["alternatives"][0]["transcript"]
        if words == "goodbye":
            session.say(text="Goodbye").hangup()
            await session.reply()
            return
        session.locals["heard"] += 1
        state = session.call.state
        state["heard"] = state.get("heard", 0) + 1
        session.say(text=f"{words}, {session.locals['heard']} here, {state['heard']} in all").gather(**LISTEN)
        await session.reply()

    def on_close(*_: object) -> None:
        session.locals.clear()

    session.on("/echo", on_echo)
    session.on("close", on_close)
    session.say(text="Say something and I will say it, too").gather(**LISTEN)
    await session.send()


async def main() -> None:
    make_service, _ = await create_endpoint(port=3000)
    make_service(path="/echo").on("session:new", handle_session)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())

"""Another process that type checkers must accept: live calls, their state, commands to them, outbound calls."""

from collections.abc import Sequence
from typing import Any, assert_type

from jambonz_workers import Account, CallGone, Calls, NotCreated, Outcome, RemoteCall


async def supervise(redis_url: str, call_sid: str) -> Outcome | None:
    async with Calls.connect(redis_url, target="10+") as calls:
        assert_type(calls, Calls)
        found = await calls.list("shop")
        assert_type(found, Sequence[RemoteCall])
        for remote in found:
            assert_type(remote.owner, str)
            assert_type(await remote.state(), dict[str, Any])
        try:
            call = await calls.get(call_sid)
        except CallGone:
            return None
        assert_type(call, RemoteCall)
        assert_type(await calls.exists(call_sid), bool)
        await call.conference_hold("/hold")
        await call.noise_isolation("enable", level=50)
        return await call.mute(leg="a-leg")


async def originate(calls: Calls) -> str:
    account = Account("https://api.jambonz.example", "account", "key")
    try:
        return assert_type(await calls.create(account, "+1", {"type": "phone", "number": "+2"}, tag={"job": 7}), str)
    except NotCreated as error:
        assert_type(error.status, int)
        return ""

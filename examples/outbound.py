"""Outbound calls: remind people of their appointments, and know who was reached.

Run ``jambonz-cluster worker examples.outbound:app``, then ``python -m examples.outbound`` with the numbers.
"""

import asyncio
import os

import click

from jambonz_workers import Account, App, Call, Calls
from jambonz_workers.events import CallStatus, GatherResult, SessionEvent

app = App()


@app.session("/reminder")
async def answered(_: Call, event: SessionEvent) -> object:
    # The tag of the call, whoever has picked up; statuses before the answer carry it, too.
    name = event.customer_data.get("name", "you")
    text = f"This is a reminder for {name}. Press 1 if you will come."
    return [
        {
            "verb": "gather",
            "input": ["digits"],
            "numDigits": 1,
            "timeout": 10,
            "say": {"text": text},
            "actionHook": "/reminder/pressed",
        }
    ]


@app.hook("/reminder/pressed")
async def pressed(call: Call, event: GatherResult) -> object:
    call.state["confirmed"] = event.digits == "1"
    return [{"verb": "say", "text": "Thank you. Goodbye."}, {"verb": "hangup"}]


@app.on("call:status")
async def status(call: Call, event: CallStatus) -> None:
    # Comes before session:new, and instead of it when nobody answers.
    if event.is_final:
        print(f"{call.to}: {event.status}, confirmed: {call.state.get('confirmed', False)}")


@click.command()
@click.argument("numbers", nargs=-1, required=True)
@click.option("--caller", default="+15550001", help="The number that calls.")
@click.option("--hook", default="wss://cluster.example.com/reminder", help="Where jambonz finds the cluster.")
def main(numbers: tuple[str, ...], caller: str, hook: str) -> None:
    """Call NUMBERS; JAMBONZ_API_URL, JAMBONZ_ACCOUNT_SID and JAMBONZ_API_KEY say by whom."""
    asyncio.run(remind(numbers, caller, hook))


async def remind(numbers: tuple[str, ...], caller: str, hook: str) -> list[str]:
    names = ("JAMBONZ_API_URL", "JAMBONZ_ACCOUNT_SID", "JAMBONZ_API_KEY")
    account = Account(*(os.environ[name] for name in names))
    async with Calls.connect(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")) as calls:
        hooks = {"call_hook": {"url": hook, "method": "POST"}, "call_status_hook": {"url": hook, "method": "POST"}}
        started = [
            await calls.create(account, caller, {"type": "phone", "number": number}, tag={"name": number}, **hooks)
            for number in numbers
        ]
    for number, call_sid in zip(numbers, started, strict=True):
        print(f"{number}: {call_sid}")
    return started


if __name__ == "__main__":
    main()

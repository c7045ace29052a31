"""A transfer: the reception hands callers to sales, another app of the same cluster, with what sales has to know.

Each app has workers of its own: ``jambonz-cluster worker examples.transfer:reception``, and the same with ``:sales``.
Of the reception's callers sales gets those only whom it has handed over.
"""

import logging

from jambonz_workers import App, Call
from jambonz_workers.events import GatherResult

log = logging.getLogger(__name__)

reception = App(
    "reception",
    env={
        "SALES_URL": {
            "type": "string",
            "description": "Where sales takes callers; with user and password, if its app has a login",
            "default": "wss://voice.example.com/sales",
        }
    },
)

ASK = {"verb": "gather", "input": ["digits"], "numDigits": 1, "timeout": 10}


@reception.session("/reception")
async def welcome(_: Call) -> object:
    return {**ASK, "actionHook": "/reception/choice", "say": {"text": "Press 1 for sales."}}


@reception.hook("/reception/choice")
async def choose(call: Call, event: GatherResult) -> object:
    call.state["pressed"] = event.digits
    if event.digits != "1":
        return [{"verb": "say", "text": "Goodbye."}, {"verb": "hangup"}]
    handed = {"customer": call.from_, "language": "en-US"}
    return [
        {"verb": "say", "text": "One moment, please."},
        call.transfer("sales", call.env["SALES_URL"], state=handed),
    ]


sales = App("sales")


# Callers of its own begin with session:new; those that are handed over with session:redirect, whose hook is the url.
@sales.session("/sales")
@sales.hook("/sales")
async def greet(call: Call) -> object:
    customer = call.state.get("customer", "stranger")
    return {**ASK, "actionHook": "/sales/product", "say": {"text": f"Hello {customer}, which product, 1 to 3?"}}


@sales.hook("/sales/product")
async def sell(call: Call, event: GatherResult) -> object:
    call.state["product"] = event.digits
    return [{"verb": "say", "text": f"Product {event.digits} is on its way."}, {"verb": "hangup"}]


@sales.on_end
async def book(call: Call) -> None:
    log.info("sold", extra={"call_sid": call.sid, "product": call.state.get("product"), "status": call.status})

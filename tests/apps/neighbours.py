"""Two applications of two accounts, with the same path."""

from jambonz_workers import App, Call, Event

acme = App("acme")
zenith = App("zenith")


@acme.session("/ivr")
@zenith.session("/ivr")
async def talk(call: Call, event: Event) -> list[dict[str, object]]:
    # Answered, and then nothing until the caller hangs up.
    return [{"verb": "answer"}, {"verb": "pause", "length": 3600}]

"""A conference: members wait with music until the moderator comes, and can be muted, held and thrown out."""

from jambonz_workers import App, Call
from jambonz_workers.events import ConferenceEvent, GatherResult

app = App()

ROOM = "weekly"
MUSIC = {"verb": "play", "url": "https://media.example.com/waiting.mp3"}
CONFERENCE = {
    "verb": "conference",
    "name": ROOM,
    "beep": True,
    "statusHook": "/rooms/event",
    "statusEvents": ["start", "join", "leave", "end"],
    "actionHook": "/rooms/left",
}


@app.session("/rooms")
async def welcome(_: Call) -> object:
    gather = {"verb": "gather", "input": ["digits"], "numDigits": 1, "timeout": 5, "actionHook": "/rooms/role"}
    return {**gather, "say": {"text": "Press 1 if you are the moderator."}}


@app.hook("/rooms/role")
async def role(call: Call, event: GatherResult) -> object:
    call.state["is_moderator"] = event.digits == "1"
    if call.state["is_moderator"]:
        return {**CONFERENCE, "startConferenceOnEnter": True, "endConferenceOnExit": True}
    return {**CONFERENCE, "startConferenceOnEnter": False, "waitHook": "/rooms/wait"}


# Asked again and again, also while a member is on hold; the gateway has an answer of its own should none come in time.
@app.hook("/rooms/wait", late="drop", fallback=[MUSIC])
async def wait(_: Call) -> object:
    return [{"verb": "say", "text": "The moderator will be with you soon."}, MUSIC]


@app.hook("/rooms/event")
async def event_of_the_room(call: Call, event: ConferenceEvent) -> None:
    call.state["room"] = {"event": event.event, "members": event.members}
    if event.event == "join" and not call.state["is_moderator"]:
        # A member listens until the moderator asks for questions.
        await call.participant("mute")


@app.hook("/rooms/left")
async def left(_: Call) -> object:
    return [{"verb": "say", "text": "You have left the room."}, {"verb": "hangup"}]

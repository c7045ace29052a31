"""Verbs in which the caller waits or meets others: enqueue, dequeue, conference. Pure."""

from typing import Any, Final, cast

from jambonz_simulator.core.acks import Reply, ReplyAcked
from jambonz_simulator.core.kernel import Promise, Steps
from jambonz_simulator.core.session import LastWords, Session, VerbEnd
from jambonz_simulator.core.tasks.media import playing, set_tag
from jambonz_simulator.core.verbs import Verb, hook_path

# Any other verb ends the waiting loop (PROTOCOL.md 2.8).
QUEUE_WAIT_VERBS: Final = frozenset({"play", "say", "pause", "leave", "tag"})
CONFERENCE_WAIT_VERBS: Final = frozenset({"play", "say", "pause"})


def enqueue(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Wait in a queue until an agent takes the call; the waitHook is asked in a loop."""
    since_s = session.world.elapsed_s
    queue_sid = session.world.ids.sid()
    result = "hangup"

    def told() -> dict[str, Any]:
        waited_s = int(session.world.elapsed_s - since_s)
        return {"queue_sid": queue_sid, "queue_time": waited_s, "queue_result": result}

    session.last_words = LastWords(told, is_moot_if_replaced=True)
    left: Promise[str] = Promise(session.world.kernel)
    loop = session.world.kernel.spawn(_queue_loop(session, verb, queue_sid, since_s, left))
    try:
        if session.script.queue_s is not None:
            bridged = session.world.passing(session.script.queue_s)
            bridged.then(lambda _: left.settle("bridged"))
        result = yield left
    finally:
        loop.kill()
    return "next"


def _queue_loop(session: Session, verb: Verb, queue_sid: str, since_s: float, left: Promise[str]) -> Steps[None]:
    """An empty, late or invalid answer ends the loop: silence from then on (pitfall 17)."""
    hook = hook_path(verb.get("waitHook"))
    while hook is not None:
        data: dict[str, Any] = {
            "queue_sid": queue_sid,
            "queue_time": int(session.world.elapsed_s - since_s),
            "queue_size": 1,
            "queue_position": 0,
            "call_sid": session.info.call_sid,
            "call_id": session.info.call_id,
        }
        if session.info.customer_data:
            data["customerData"] = session.info.customer_data
        reply = yield session.requestor.request("verb:hook", hook, data, session.info.next_b3())
        verbs = _wait_verbs(session, reply, QUEUE_WAIT_VERBS)
        if not verbs:
            session.world.anomaly(session.requestor.connection or 0, "wait_loop_ended", f"enqueue {hook}")
            return
        if any(item["verb"] == "leave" for item in verbs):
            left.settle("leave")
            return
        yield from _play_all(session, verbs)


def _wait_verbs(session: Session, reply: Reply, allowed: frozenset[str]) -> list[Verb] | None:
    if not isinstance(reply, ReplyAcked) or not isinstance(reply.data, list):
        return None
    verbs = session.read(reply.data)
    return verbs if verbs and all(verb["verb"] in allowed for verb in verbs) else None


def _play_all(session: Session, verbs: list[Verb]) -> Steps[None]:
    for verb in verbs:
        if verb["verb"] == "tag":
            set_tag(session, verb)
        else:
            yield playing(session, verb)
    # Verbs without a length would ask the waitHook again in the same instant, without end.
    yield session.world.kernel.sleep(0.001)


def dequeue(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Talk to a queued caller; the hook is not awaited (PROTOCOL.md 2.8)."""
    yield session.world.passing(session.script.play_s)
    hook = hook_path(verb.get("actionHook"))
    if hook is not None:
        session.hook(hook, {"dequeue_result": "complete"}, verb)
    return "next"


def conference(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Be in a room, waiting for others first if it has a waitHook, until killed (6.4)."""
    session.last_words = LastWords(dict)
    sid = session.world.ids.sid()
    enter = hook_path(verb.get("enterHook"))
    if enter is not None:
        reply = yield session.requestor.request("verb:hook", enter, session.info.to_raw_data())
        yield from _play_all(session, _wait_verbs(session, reply, CONFERENCE_WAIT_VERBS) or [])
    _room_event(session, verb, sid, "start")
    _room_event(session, verb, sid, "join")
    loop = session.world.kernel.spawn(conference_loop(session, hook_path(verb.get("waitHook"))))
    try:
        # Nobody keeps this promise: a room is left by a kill alone.
        return cast("VerbEnd", (yield Promise(session.world.kernel)))
    finally:
        loop.kill()
        _room_event(session, verb, sid, "leave")
        _room_event(session, verb, sid, "end")


def conference_loop(session: Session, hook: str | None) -> Steps[None]:
    """Ask the waitHook, play what it says, ask again; stops for ever at an empty answer (pitfall 17)."""
    while hook is not None:
        reply = yield session.requestor.request("verb:hook", hook, session.info.to_raw_data())
        verbs = _wait_verbs(session, reply, CONFERENCE_WAIT_VERBS)
        if not verbs:
            session.world.anomaly(session.requestor.connection or 0, "wait_loop_ended", f"conference {hook}")
            return
        yield from _play_all(session, verbs)


def _room_event(session: Session, verb: Verb, conference_sid: str, event: str) -> None:
    """The statusHook wants an ack, its data is ignored (PROTOCOL.md 2.8)."""
    hook = hook_path(verb.get("statusHook"))
    events = verb.get("statusEvents")
    if hook is None or not isinstance(events, list) or event not in events:
        return
    results = {
        "event": event,
        "conference_sid": conference_sid,
        "friendly_name": verb["name"],
        "members": 0 if event == "end" else 1,
        "duration": int(session.world.elapsed_s),
        "time": int(session.world.elapsed_s),
    }
    session.requestor.request("verb:hook", hook, {**session.info.to_data(), **results})

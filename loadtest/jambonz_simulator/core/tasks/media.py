"""Verbs that play, pause or set something: say, play, pause, config, tag, hangup and so on. Pure."""

from typing import Any, Final

from jambonz_simulator.core.kernel import Promise, Steps
from jambonz_simulator.core.session import LastWords, Session, VerbEnd
from jambonz_simulator.core.verbs import Verb, number

# About 170 words a minute; a model, no fact of jambonz.
SECONDS_PER_CHARACTER: Final = 0.06


def say_s(verb: Verb) -> float:
    """Seconds that a say verb takes, its loops included."""
    text = verb.get("text", "")
    texts = text if isinstance(text, list) else [text]
    return sum(len(str(item)) for item in texts) * SECONDS_PER_CHARACTER * _loops(verb)


def play_s(session: Session, verb: Verb) -> float:
    """Seconds that a play verb takes: the length of its file, or its own time limit."""
    url = verb.get("url")
    files = len(url) if isinstance(url, list) else 1
    length_s = files * session.script.play_s * _loops(verb)
    return min(length_s, number(verb.get("timeoutSecs"), length_s))


def _loops(verb: Verb) -> float:
    loop = verb.get("loop", 1)
    return 1_000_000.0 if loop in ("forever", 0) else max(1.0, number(loop, 1.0))


def playing(session: Session, verb: Verb) -> Promise[None]:
    """Wait while a say, play or pause verb runs, as a prompt or for its own sake."""
    match verb["verb"]:
        case "say":
            return session.world.passing(say_s(verb))
        case "play":
            return session.world.passing(play_s(session, verb))
        case _:
            return session.world.passing(number(verb.get("length"), 0.0))


def say(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Speak a text, or the tokens that are streamed while the verb runs."""
    if verb.get("stream"):
        yield from _say_stream(session, verb)
        return "next"
    session.notify_playback(verb, "synthesized-audio", vendor="google", language="en-US", served_from_cache=False)
    yield from _heard(session, verb)
    return "next"


def _heard(session: Session, verb: Verb) -> Steps[None]:
    """Let the caller hear the verb, and say how that begins and ends to an app that has asked for it."""
    session.notify_playback(verb, "start-playback")
    try:
        yield playing(session, verb)
        session.notify_playback(verb, "stop-playback")
    except GeneratorExit:
        session.notify_playback(verb, "kill-playback")
        raise


def _say_stream(session: Session, verb: Verb) -> Steps[None]:
    session.tts.start(_vendor(verb))
    try:
        yield session.world.until(lambda: session.tts.state == "failed")
    finally:
        session.tts.switch_off()


def play(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Play a file and tell the actionHook how much of it was heard, also when killed (tasks/play.js)."""
    since_s, length_s = session.world.elapsed_s, play_s(session, verb)

    def told() -> dict[str, Any]:
        seconds = min(length_s, session.world.lived_s(session.world.elapsed_s - since_s))
        return {
            "reason": "playCompleted",
            "playback_seconds": int(seconds),
            "playback_milliseconds": round(seconds * 1000),
            "playback_last_offset_pos": round(seconds * 8000),
            "status": "completed",
        }

    session.last_words = LastWords(told)
    yield from _heard(session, verb)
    return "next"


def pause(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Do nothing for a while."""
    yield playing(session, verb)
    return "next"


def instant(session: Session, _verb: Verb) -> Steps[VerbEnd]:
    """A verb without a noticeable length or hook: alert, answer, dtmf, dub, leave."""
    yield session.world.kernel.sleep(0.0)
    return "next"


def tag(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Set the customerData of the call."""
    set_tag(session, verb)
    yield session.world.kernel.sleep(0.0)
    return "next"


def set_tag(session: Session, verb: Verb) -> None:
    """Make the data of a tag verb the customerData of the call."""
    data = verb["data"]
    session.info.customer_data = data if isinstance(data, dict) else {}


def config(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Change the defaults of the session."""
    configure(session, verb)
    yield session.world.kernel.sleep(0.0)
    return "next"


def configure(session: Session, settings: dict[str, Any]) -> None:
    """Do what the config verb and the config command do at once (PROTOCOL.md 2.11, 4.1)."""
    if settings.get("notifyEvents"):
        # It cannot be switched off again (config:137-140).
        session.notifies_events = True
    stream = settings.get("ttsStream")
    if isinstance(stream, dict):
        if stream.get("enable"):
            session.tts.start(_vendor(settings))
        else:
            session.tts.switch_off()
    barge_in = settings.get("bargeIn")
    if isinstance(barge_in, dict):
        session.barge_in = barge_in if barge_in.get("enable") else None
    transcribe = settings.get("transcribe")
    if isinstance(transcribe, dict):
        session.is_background_transcribing = bool(transcribe.get("enable"))


def _vendor(settings: dict[str, Any]) -> str:
    synthesizer = settings.get("synthesizer")
    return str(synthesizer.get("vendor", "")) if isinstance(synthesizer, dict) else "google"


def hangup(session: Session, _verb: Verb) -> Steps[VerbEnd]:
    """End the call."""
    yield session.world.kernel.sleep(0.0)
    return "ends_call"


def sip_decline(session: Session, verb: Verb) -> Steps[VerbEnd]:
    """Refuse an inbound call with a SIP status."""
    yield session.world.kernel.sleep(0.0)
    if session.is_answered:
        return "next"
    status = int(number(verb["status"], 480.0))
    session.fail("failed", status, str(verb.get("reason", "Declined")))
    return "next"

"""Which generator runs which verb. Pure."""

from typing import Final

from jambonz_simulator.core.session import Runner
from jambonz_simulator.core.tasks import dial, gather, media, model, moving, rooms

RUNNERS: Final[dict[str, Runner]] = {
    "alert": media.instant,
    "answer": media.instant,
    "conference": rooms.conference,
    "config": media.config,
    "dequeue": rooms.dequeue,
    "dial": dial.dial,
    "dialogflow": moving.bot,
    "dtmf": media.instant,
    "dub": media.instant,
    "enqueue": rooms.enqueue,
    "gather": gather.gather,
    "hangup": media.hangup,
    "leave": media.instant,
    "lex": moving.bot,
    "listen": moving.listen,
    "llm": model.llm,
    "message": moving.message,
    "pause": media.pause,
    "play": media.play,
    "rasa": moving.bot,
    "redirect": moving.redirect,
    "say": media.say,
    "sip:decline": media.sip_decline,
    "sip:refer": moving.sip_refer,
    "sip:request": moving.sip_request,
    "tag": media.tag,
    "transcribe": moving.transcribe,
}

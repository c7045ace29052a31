"""What each line of jambonz can do: commands and verbs by version. Pure. Source: PROTOCOL.md 3.2, 3.4, section 11.

jambonz answers what it does not know with silence (commands) or refuses a whole application (verbs), so what the
target lacks is refused here, where the caller can see it. Nothing on the wire tells the version.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from jambonz_shared.errors import ClusterError
from jambonz_workers.verbs import verb_name

Target = Literal["0.9", "10+"]
"""The open source line, or the commercial one."""


class Unsupported(ClusterError, ValueError):
    """The app's target has no such command or verb; nothing was sent."""

    def __init__(self, what: str, name: str, target: str) -> None:
        self.what = what
        self.name = name
        self.target = target
        super().__init__(
            f"{what} {name!r} does not exist in jambonz {target}, the target of this app; nothing was sent"
        )


@dataclass(frozen=True, slots=True)
class CommandFact:
    """One command of jambonz.

    Attributes:
        name: jambonz's own name.
        methods: The typed methods of ``Call`` and ``RemoteCall`` that send it.
        when: When jambonz follows it; at any other time it ignores it without a word.
        has_leg: jambonz looks at ``callSid``, so that a leg of a dial can be addressed.
        is_commercial: Exists only in the commercial line.
    """

    name: str
    methods: tuple[str, ...]
    when: str = "at any time"
    has_leg: bool = False
    is_commercial: bool = False


_CONFERENCE: Final = "in a conference"
_MODEL: Final = "while an llm verb runs"
_STREAM: Final = "while text is streamed"

COMMANDS: Final[dict[str, CommandFact]] = {
    fact.name: fact
    for fact in (
        CommandFact("redirect", ("redirect", "redirect_hook", "redirect_parent")),
        CommandFact("call:status", ("hangup", "no_answer"), "hangup: answered; no_answer: not answered yet"),
        CommandFact("config", ("config",)),
        CommandFact("dial", ("dial",)),
        CommandFact("dub", ("dub",), has_leg=True),
        CommandFact("record", ("record",), "answered"),
        CommandFact("mute:status", ("mute", "unmute"), "in a dial or a conference", has_leg=True),
        CommandFact("conf:mute-status", ("conference_mute", "conference_unmute"), _CONFERENCE),
        CommandFact("conf:hold-status", ("conference_hold", "conference_unhold"), _CONFERENCE),
        CommandFact("conf:participant-action", ("participant",), _CONFERENCE),
        CommandFact("listen:status", ("listen_pause", "listen_resume"), "in a listen, or a dial with one"),
        CommandFact("stream:status", ("stream_pause", "stream_resume"), "in a stream, or a dial with one"),
        CommandFact("transcribe:status", ("transcribe_pause", "transcribe_resume"), "while something transcribes"),
        CommandFact("whisper", ("whisper",), "in a dial or a listen", has_leg=True),
        CommandFact("sip:request", ("sip_request",), "answered", has_leg=True),
        CommandFact("dtmf", ("dtmf",), "answered", has_leg=True),
        CommandFact("boostAudioSignal", ("boost",), "answered", has_leg=True),
        CommandFact("media:path", ("media_path",), "in a dial"),
        CommandFact("llm:tool-output", ("tool_output",), _MODEL),
        CommandFact("llm:update", ("llm_update",), _MODEL),
        CommandFact("tts:tokens", ("tts_tokens", "tts_stream"), _STREAM),
        CommandFact("tts:flush", ("tts_flush",), _STREAM),
        CommandFact("tts:clear", ("tts_clear",), _STREAM),
        CommandFact("tag", ("tag",), is_commercial=True),
        CommandFact("agent:update", ("agent_update",), "while an agent verb runs", is_commercial=True),
        CommandFact("noiseIsolation:status", ("noise_isolation",), "answered", is_commercial=True),
        CommandFact("stt:reconfigure", ("stt_reconfigure",), is_commercial=True),
        CommandFact("room:say", ("room_say",), "in a room", is_commercial=True),
        CommandFact("room:play", ("room_play",), "in a room", is_commercial=True),
    )
}
"""All commands by name."""

# Verbs that 0.9 refuses as "invalid instruction", and the whole application with them (PROTOCOL.md 11, pitfall 21).
COMMERCIAL_VERBS: Final = frozenset({"agent", "transfer", "gptlive_s2s", "qwen_s2s", "room"})
# Properties that 0.9 refuses as "unknown property" (PROTOCOL.md 11).
COMMERCIAL_PROPERTIES: Final[Mapping[str, frozenset[str]]] = {
    "conference": frozenset({"stream"}),
    "dial": frozenset({"codecs"}),
    "dialogflow": frozenset({"toolHook", "deployment", "sessionId"}),
    "llm": frozenset({"handoff", "hangup", "responseTimeoutMs"}),
    "transcribe": frozenset({"enable"}),
}


def checked_target(target: object) -> Target | None:
    """Return a target.

    Raises:
        ValueError: If there is none of this name.
    """
    for known in get_args(Target):
        if target == known:
            found: Target = known
            return found
    if target is None:
        return None
    raise ValueError(f"expected target '0.9', '10+' or None, got {target!r}")


def check_command(name: str, target: Target | None) -> bool:
    """Return whether the command is known at all.

    Raises:
        Unsupported: If the target lacks it.
    """
    fact = COMMANDS.get(name)
    if fact and fact.is_commercial and target == "0.9":
        raise Unsupported("command", name, target)
    return fact is not None


def check_verbs(verbs: Iterable[Mapping[str, Any]], target: Target | None) -> None:
    """Let pass what the target knows.

    Raises:
        Unsupported: If the target lacks a verb, or a property of one.
    """
    if target != "0.9":
        return
    for verb in verbs:
        name = verb_name(verb)
        if name in COMMERCIAL_VERBS:
            raise Unsupported("verb", name, target)
        properties = verb if "verb" in verb else verb.get(name) or {}
        if name == "config" and "synthesizer" in (properties.get("ttsStream") or {}):
            # Ignored without a word: the synthesizer of the config itself counts (pitfall 44).
            raise Unsupported("property", "config.ttsStream.synthesizer", target)
        for unknown in sorted(COMMERCIAL_PROPERTIES.get(name, frozenset()).intersection(properties)):
            raise Unsupported("property", f"{name}.{unknown}", target)

"""The newest answer of a call, given again when jambonz reports that a hook died with its websocket. Pure.

What a gateway has written counts as sent, and nobody is told what a dying socket swallows: the event that was on its
way to us, or the answer to it. But jambonz reports a gather whose hook died with its socket, on the next one, and
waits for a command then (PROTOCOL.md 2.6.2, 2.8). Source: ADR 0019.
"""

from collections.abc import Sequence
from typing import Final

from jambonz_shared.directive import Ack, Command, Directive
from jambonz_shared.wire import trimmed
from jambonz_workers.event import Event

KIND: Final = "jambonz:error"

_REPORT: Final = "invalid actionHook response"
# What tells gather's actionHook from its partialResultHook and from hooks of other verbs (PROTOCOL.md 2.8).
# To be compared, not hashed: whoever sends the event may have put a list there.
_REASONS: Final = ("speechDetected", "dtmfDetected", "timeout", "error", "stt-low-confidence")
_REDIRECT: Final = b'{"type":"command","command":"redirect"'
_EMPTY: Final = (b"", b"[]")


def newest_answer(before: Ack | None, event: Event | None, directives: Sequence[Directive]) -> Ack | None:
    """Return the answer that is the application of its call behind ``directives``; None if it is something else.

    Args:
        before: What it was until now.
        event: What they are the effects of; None if they came from beside the events.
        directives: What went out, in order.
    """
    for directive in directives:
        if isinstance(directive, Ack):
            if directive.may_redirect:
                before = directive
                # It is kept for as long as the call lasts.
                before.data = trimmed(directive.data)
            elif directive.data not in _EMPTY or (event is not None and event.data.get("reason") in _REASONS):
                # After a gather that is answered with nothing the application goes on by something else.
                before = None
        elif isinstance(directive, Command) and directive.frame.startswith(_REDIRECT):
            before = None
    return before


def is_unread(answer: Ack, event: Event) -> bool:
    """Tell whether ``event`` is jambonz' report, on a newer websocket than the answer's, of a gather without answer."""
    data = event.data
    return event.epoch > answer.epoch and data.get("msg") == _REPORT and data.get("verb") == "gather"

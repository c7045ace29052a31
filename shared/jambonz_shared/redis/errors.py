"""What can go wrong between a command and its reply. Pure."""

import re
from typing import Final

from jambonz_shared.errors import ClusterError

# Redis before 7 wraps what a command inside a script was refused with (6.2, scripting.c, evalGenericCommand):
# "ERR Error running script (call to f_SHA): @user_script:51: @user_script: 51: -OOM command not allowed ...".
_INSIDE_A_SCRIPT: Final = re.compile(r"ERR Error running script .*?@user_script: ?\d+: -?([A-Z]{2,}) ")


class ResponseError(ClusterError):
    """Redis answered a command with an error; the command had no effect.

    Attributes:
        code: First word of the answer, such as ``"WRONGTYPE"``, or of that to the command of a script that was refused.
            Log this, never the text: Redis repeats the arguments of unknown commands in it.
    """

    def __init__(self, text: str) -> None:
        inside = _INSIDE_A_SCRIPT.match(text)
        self.code = inside[1] if inside else text.split(" ", 1)[0]
        super().__init__(text)


class LinkError(ClusterError):
    """A command got no reply.

    Attributes:
        sent: False if Redis has certainly not seen the command, so that it may be repeated. True if nobody knows.
    """

    def __init__(self, text: str, *, sent: bool) -> None:
        self.sent = sent
        super().__init__(text)


class LinkDown(LinkError):
    """The connection to Redis is down, or went down before the reply came."""

    def __init__(self, *, sent: bool) -> None:
        fate = "nobody knows whether Redis has run the command" if sent else "the command was not sent"
        super().__init__(f"the connection to Redis is down; {fate}", sent=sent)


class LinkFull(LinkError):
    """Redis takes commands more slowly than they are made; this one was not sent."""

    def __init__(self, buffered_bytes: int, limit_bytes: int) -> None:
        self.buffered_bytes = buffered_bytes
        self.limit_bytes = limit_bytes
        super().__init__(
            f"{buffered_bytes} bytes wait to be sent to Redis, {limit_bytes} are allowed; the command was not sent",
            sent=False,
        )


class WireLost(ClusterError):
    """A connection to Redis has ended; the text says why."""


def code_of(error: BaseException) -> str:
    """Return the first word with which Redis has refused something, such as ``NOAUTH``; empty for other troubles."""
    if isinstance(error, ResponseError):
        return error.code
    # redis-py takes it off the text of what it raises itself. An ``ERR`` may be anything, its class tells more.
    code = getattr(error, "status_code", None)
    return code if isinstance(code, str) and code != "ERR" else ""

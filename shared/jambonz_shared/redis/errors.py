"""What can go wrong between a command and its reply. Pure."""

from jambonz_shared.errors import ClusterError


class ResponseError(ClusterError):
    """Redis answered a command with an error; the command had no effect.

    Attributes:
        code: First word of the answer, such as ``"WRONGTYPE"``. Log this, never the text: Redis repeats the
            arguments of unknown commands in it.
    """

    def __init__(self, text: str) -> None:
        self.code = text.split(" ", 1)[0]
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

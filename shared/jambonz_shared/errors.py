"""Every error a user of the library can meet, with its numbers as attributes. Pure."""


class ClusterError(Exception):
    """Base of all errors of jambonz-cluster that callers may want to catch."""


class CallGone(ClusterError):
    """The call has ended, or never was; nothing was sent."""

    def __init__(self, call_sid: str) -> None:
        self.call_sid = call_sid
        super().__init__(f"call {call_sid!r} has ended or does not exist; nothing was sent")


class CallLost(ClusterError):
    """Another worker owns the call now; nothing was sent and nothing was saved.

    Raised in background work of a worker that was too slow (fencing). Stop the work: the
    new owner goes on with the committed state.

    Attributes:
        owner: The worker that owns it; empty if none does yet, or nobody here knows which.
    """

    def __init__(self, call_sid: str, owner: str) -> None:
        self.call_sid = call_sid
        self.owner = owner
        whose = f"now belongs to worker {owner!r}" if owner else "is no longer this worker's"
        super().__init__(f"call {call_sid!r} {whose}; this worker may no longer act on it")


class CallTransferred(CallLost):
    """The call was handed to another app by ``Call.transfer``; nothing was sent and nothing was saved.

    Attributes:
        app: The app that it was handed to.
    """

    def __init__(self, call_sid: str, owner: str, app: str) -> None:
        super().__init__(call_sid, owner)
        self.app = app
        self.args = (f"call {call_sid!r} was handed to the app {app!r}; this app may no longer act on it",)


class MessageTooBig(ClusterError, ValueError):
    """A message is larger than jambonz accepts; it was not sent.

    jambonz closes the websocket on a bigger one (PROTOCOL.md 1.1, pitfalls 1 and 2), so the size is
    checked here, where the caller can still shorten the reply.
    """

    def __init__(self, what: str, size_bytes: int, limit_bytes: int) -> None:
        self.what = what
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes
        super().__init__(
            f"{what} of {size_bytes} bytes is over the {limit_bytes} bytes jambonz is sent at most; shorten it"
        )


class LifespanFailed(ClusterError):
    """The lifespan of an application has raised while a worker started; the cause is what it raised."""

    def __init__(self, app: str, error: Exception) -> None:
        self.app = app
        super().__init__(f"the lifespan of the app {app!r} raised {type(error).__name__}: {error}")


class BadFrame(ClusterError, ValueError):
    """A websocket message that jambonz never sends; the text says what was expected and what came."""


class BadFormat(ClusterError, ValueError):
    """Bytes from Redis that are not the format of this version (docs/explanation/architecture.md)."""

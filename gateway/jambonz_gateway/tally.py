"""Counters of the hot path: plain numbers, turned into metrics only when somebody asks for them. Pure."""


class Tally:
    """Counts what comes and goes.

    Attributes:
        events: Messages from jambonz.
        sends: Messages to jambonz.
        published: Envelopes appended to streams.
    """

    __slots__ = ("events", "published", "sends")

    def __init__(self) -> None:
        self.events = 0
        self.sends = 0
        self.published = 0

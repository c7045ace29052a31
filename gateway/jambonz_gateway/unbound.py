"""Events of a Connection that has not said yet which Call it is about. Pure."""

from typing import Final

from jambonz_gateway.holding import Stock
from jambonz_gateway.route import Event

# Messages that come before the first one that names a call: statuses of an outbound call, at most.
_EVENTS_MAX: Final = 32


class Unbound:
    """Keeps them until the Call is known."""

    __slots__ = ("_events", "_stock")

    def __init__(self, stock: Stock) -> None:
        """Keep nothing yet; ``stock`` counts what is kept."""
        self._stock: Final = stock
        self._events: list[Event] = []

    def __len__(self) -> int:
        return len(self._events)

    def keep(self, event: Event) -> bool:
        """Keep one more event, and return True; or nothing at all any more, if they are too many or too long."""
        self._events.append(event)
        self._stock.put(len(event.body))
        if len(self._events) <= _EVENTS_MAX and not self._stock.is_over:
            return True
        self.release()
        return False

    def release(self) -> list[Event]:
        """Return what was kept, and keep it no longer."""
        events, self._events = self._events, []
        for event in events:
            self._stock.put(-len(event.body))
        return events

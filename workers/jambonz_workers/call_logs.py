"""Log lines that an application writes while it serves a call say which call that is."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from jambonz_workers.handling import current, working_for

# Ours say it themselves where it is so: a connection that a handler happens to wake is of no call.
_OURS: Final = ("jambonz_workers", "jambonz_shared", "jambonz_cluster")


@contextmanager
def call_sid_in_logs() -> Iterator[None]:
    """Give every record that handlers, their threads and background work write the extra field ``call_sid``."""
    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(_stamped)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(_stamped)


def _stamped(record: logging.LogRecord) -> bool:
    """Pass every record; its own ``call_sid`` comes first."""
    if not hasattr(record, "call_sid") and record.name.partition(".")[0] not in _OURS:
        handling = current.get()
        if call_sid := handling.call.sid if handling else working_for.get():
            record.call_sid = call_sid
    return True

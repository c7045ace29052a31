"""Log lines that never make the hot path wait: formatted and written by a thread of their own.

Write ``log.info("ack sent", extra={"call_sid": call_sid, "late_ms": 12})``; every extra field appears in both
formats. Extra values have to be immutable, since they are formatted later.
"""

import logging
import queue
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import QueueHandler, QueueListener
from typing import Final, Literal, TextIO

import orjson

# A burst of this many lines is kept while the terminal or the log collector is slow; more are dropped and counted.
QUEUE_LENGTH: Final = 10_000

_STANDARD_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# Controls but tab and newline, and what turns the direction of writing (Unicode TR 36, 3.7).
_COMMANDS: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


def extra_fields(record: logging.LogRecord) -> dict[str, object]:
    """Return what was passed as ``extra``."""
    return {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}


class TextFormatter(logging.Formatter):
    """One line for people: time, level, message, ``name=value`` for each extra field."""

    def __init__(self, *, has_colour: bool) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._has_colour = has_colour

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, followed by the traceback if there is one."""
        level = f"{record.levelname:<7}"
        fields = "".join(f" {name}={field_text(value)}" for name, value in extra_fields(record).items())
        if self._has_colour:
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
            fields = f"\x1b[2m{fields}\x1b[0m" if fields else ""
        message = _harmless(record.getMessage())
        line = f"{self.formatTime(record, self.datefmt)}.{int(record.msecs):03d} {level} {message}{fields}"
        return f"{line}\n{_harmless(record.exc_text)}" if record.exc_text else line


class JsonFormatter(logging.Formatter):
    """One JSON object per line: ``time`` (Unix seconds), ``level``, ``logger``, ``message``, the extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the object; an extra field cannot displace one of the four."""
        fields = extra_fields(record) | {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_text:
            fields["traceback"] = record.exc_text
        return orjson.dumps(fields, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class _NonBlockingHandler(QueueHandler):
    """Puts records into the queue; drops and counts them when it is full."""

    def __init__(self, records: "queue.Queue[logging.LogRecord | None]") -> None:
        super().__init__(records)
        self.dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        # Arguments may change before the other thread formats them, and a traceback holds frames alive.
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
            record.exc_info = None
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _PatientListener(QueueListener):
    """Ends even if the queue is full: it waits for room for its end mark."""

    def __init__(self, records: "queue.Queue[logging.LogRecord | None]", writer: logging.Handler) -> None:
        super().__init__(records, writer)
        self._records = records

    def enqueue_sentinel(self) -> None:
        self._records.put(None)


@contextmanager
def logging_to(
    stream: TextIO | None = None, *, level: str = "info", style: Literal["text", "json"] = "text"
) -> Iterator[None]:
    """Write every log line of the process to a stream (standard error by default) while the block runs.

    On leaving, what is queued is written, and a line tells how many were dropped, if any.
    """
    target = stream or sys.stderr
    writer = logging.StreamHandler(target)
    writer.setFormatter(JsonFormatter() if style == "json" else TextFormatter(has_colour=target.isatty()))
    records: queue.Queue[logging.LogRecord | None] = queue.Queue(QUEUE_LENGTH)
    handler, listener = _NonBlockingHandler(records), _PatientListener(records, writer)
    root = logging.getLogger()
    level_before = root.level
    root.addHandler(handler)
    root.setLevel(level.upper())
    listener.start()
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level_before)
        listener.stop()
        if handler.dropped:
            writer.handle(_dropped_record(handler.dropped))


def _dropped_record(count: int) -> logging.LogRecord:
    message = "log lines were dropped because the reader was slow"
    record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, message, None, None)
    record.dropped = count
    return record


def _harmless(text: str) -> str:
    """Return a text of several lines without anything else that tells a terminal to do something.

    Applications write what callers have said into messages, and errors repeat it.
    """
    return _COMMANDS.sub(lambda it: repr(it[0])[1:-1], text)


def field_text(value: object) -> str:
    """Return a value without anything that ends a line, or tells a terminal to do something."""
    text = str(value)
    return text if text and text.isprintable() and " " not in text else repr(text)

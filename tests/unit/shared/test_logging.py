"""Log lines in both formats, and what happens when their reader is slow."""

import io
import json
import logging
import threading

import pytest

from jambonz_shared.telemetry import logging as telemetry
from jambonz_shared.telemetry.logging import JsonFormatter, TextFormatter, logging_to

log = logging.getLogger("test.logging")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class StuckStream(io.StringIO):
    """A reader that takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_writing = threading.Event()
        self.may_go_on = threading.Event()

    def write(self, text: str) -> int:
        self.is_writing.set()
        assert self.may_go_on.wait(30)
        return super().write(text)


def test_json_line_carries_extra_fields() -> None:
    """Machines filter by call without parsing a sentence."""
    stream = io.StringIO()
    with logging_to(stream, style="json"):
        log.info("ack %s", "sent", extra={"call_sid": "c1", "late_ms": 12, "codes": {1: {2}}})
    line = json.loads(stream.getvalue())
    assert line.pop("time") > 0
    assert line == {
        "level": "info",
        "logger": "test.logging",
        "message": "ack sent",
        "call_sid": "c1",
        "late_ms": 12,
        "codes": {"1": "{2}"},
    }


def test_extra_field_cannot_displace_the_level() -> None:
    """An alert on errors must not be fooled by a field's name."""
    record = logging.makeLogRecord({"levelname": "ERROR", "msg": "x", "level": "fine"})
    assert json.loads(JsonFormatter().format(record))["level"] == "error"


def test_text_line_shows_fields_after_the_sentence() -> None:
    """People read the sentence first; values with blanks are quoted."""
    record = logging.makeLogRecord(
        {"levelname": "INFO", "msg": "ack sent", "created": 0.25, "msecs": 250.0, "call_sid": "c1", "why": "too late"}
    )
    line = TextFormatter(has_colour=False).format(record)
    assert line.endswith(".250 INFO    ack sent call_sid=c1 why='too late'")


@pytest.mark.parametrize("character", ["\n", "\x1b", "\x9b", "\u2028", "\u202e", "\x00", " "])
def test_text_line_shows_no_field_as_something_else(character: str) -> None:
    """A hook is whatever its sender makes it: no second line, no command for the terminal that shows it."""
    stream = io.StringIO()
    with logging_to(stream, style="text"):
        log.info("event", extra={"hook": f"/menu{character}[2J"})
    assert f"hook={f'/menu{character}[2J'!r}" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_colour_is_for_terminals_only() -> None:
    """A log file holds no escape sequences."""
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        with logging_to(stream):
            log.warning("careful", extra={"n": 1})
            log.info("plain")
    assert "\x1b[33mWARNING" in terminal.getvalue()
    assert "\x1b" not in file.getvalue()


@pytest.mark.parametrize("style", ["text", "json"])
def test_traceback_is_written(style: str) -> None:
    """An unexpected error is worth nothing without its place."""
    stream = io.StringIO()
    with logging_to(stream, style="json" if style == "json" else "text"):
        try:
            raise LookupError("nowhere")
        except LookupError:
            log.exception("failed")
    assert "LookupError: nowhere" in stream.getvalue()


@pytest.mark.parametrize("character", ["\x1b", "\x9b", "\x00", "\r", "\x7f", "\u202e"])
def test_neither_sentence_nor_traceback_commands_a_terminal(character: str) -> None:
    """An application writes what a caller has said, or raises it."""
    stream = io.StringIO()
    with logging_to(stream):
        try:
            raise ValueError(f"said {character}]0;x\nand more")
        except ValueError:
            log.exception("heard %s\tand\nmore", f"{character}[2J")
    text = stream.getvalue()
    assert character not in text
    assert f"heard {repr(character)[1:-1]}[2J\tand\nmore" in text
    assert f"said {repr(character)[1:-1]}]0;x\nand more" in text


def test_level_leaves_out_what_is_less_serious() -> None:
    """Debug lines cost nothing when nobody wants them."""
    stream = io.StringIO()
    with logging_to(stream, level="warning"):
        log.info("chatter")
        log.warning("news")
    assert "news" in stream.getvalue()
    assert "chatter" not in stream.getvalue()


def test_slow_reader_drops_lines_instead_of_stopping_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full terminal must never delay an ack; the loss is told at the end."""
    monkeypatch.setattr(telemetry, "QUEUE_LENGTH", 3)
    stream = StuckStream()
    with logging_to(stream, style="json"):
        log.info("first")
        assert stream.is_writing.wait(30)
        for number in range(10):
            log.info("line %d", number)
        stream.may_go_on.set()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["message"] for line in lines[:4]] == ["first", "line 0", "line 1", "line 2"]
    assert lines[-1]["dropped"] == 7

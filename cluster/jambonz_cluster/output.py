"""What commands write: results as JSON, errors as one sentence."""

import json

import click
import orjson

from jambonz_cluster.options import EXIT_FAILED


def json_text(value: object) -> str:
    """Return a value as JSON on one line, without anything that tells a terminal to do something."""
    text = orjson.dumps(value).decode()
    # Outside of texts there is nothing else, and there it may be escaped.
    return text if text.isprintable() else "".join(it if it.isprintable() else json.dumps(it)[1:-1] for it in text)


def failed(text: str, exit_code: int = EXIT_FAILED) -> int:
    """Write why a command has failed on standard error, and return its exit code."""
    click.echo(f"error: {text}", err=True)
    return exit_code

"""What commands write: results as JSON, errors as one sentence."""

import click
import orjson

from jambonz_cluster.options import EXIT_FAILED


def json_text(value: object) -> str:
    """Return a value as JSON on one line."""
    return orjson.dumps(value).decode()


def failed(text: str, exit_code: int = EXIT_FAILED) -> int:
    """Write why a command has failed on standard error, and return its exit code."""
    click.echo(f"error: {text}", err=True)
    return exit_code

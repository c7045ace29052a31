"""`python -m tests.chaos --seconds 60 --seed 1`: a storm with progress, a summary, and exit code 1 if it did harm."""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import click

from tests.chaos.invariants import Findings
from tests.chaos.storm import Storm, run


def main() -> int:
    """Run a storm as the command line says and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=8.0, help="new calls per second")
    parser.add_argument("--only", type=_names, default=(), help="faults to choose from, with commas; all if not given")
    arguments = parser.parse_args()
    storm = Storm(arguments.seconds, arguments.seed, arguments.rate, arguments.only)
    folder = Path(tempfile.mkdtemp(prefix="jambonz-cluster-chaos-"))
    findings = asyncio.run(run(storm, folder, click.echo))
    _summarize(storm, findings, folder)
    return 1 if findings.violations else 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def _summarize(storm: Storm, findings: Findings, folder: Path) -> None:
    click.echo(f"\nseed {storm.seed}, {storm.seconds:g} s of faults, {storm.rate:g} calls/s; logs in {folder}")
    for name, count in sorted(findings.counts.items()):
        click.echo(f"  {name:42} {count:7d}")
    if not findings.violations:
        click.echo("every invariant held")
    for invariant, sentence in findings.violations[:30]:
        click.echo(f"BROKEN with seed {storm.seed}: {invariant}: {sentence}")


if __name__ == "__main__":
    sys.exit(main())

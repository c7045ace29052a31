"""``jambonz-cluster simulate``: plays calls against a server and prints what happened."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from jambonz_simulator.client import CallOptions, simulate_call
from jambonz_simulator.core.script import Press, Script
from jambonz_simulator.core.urls import target_of
from jambonz_simulator.fleet import Load, run_fleet
from jambonz_simulator.script_files import load_script
from jambonz_simulator.summary import Summary
from jambonz_simulator.transcript import Conversation, print_end, print_summary

EXIT_GOOD: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

_DIGITS: Final = frozenset("0123456789*#")

# A caller of a script that says nothing about it does not wait for ever on the command line.
DEFAULT_PATIENCE_S: Final = 60.0


def run_simulate(  # noqa: PLR0913 - one parameter for each option of the command
    url: str,
    *,
    script: str = "hello",
    press: Sequence[str] = (),
    calls: int = 1,
    rate: float = 10.0,
    concurrency: int | None = None,
    as_json: bool = False,
    speed: float = 1.0,
) -> int:
    """Play calls and print a transcript (one call) or a summary (many); give the exit code.

    The code is 0 if all went well, 1 if a call failed or a deadline was missed, 2 if the script, the digits or the URL
    cannot be used. ``press`` are the digits that the caller presses, each where a verb listens, instead of the
    steps of the script. ``concurrency`` of ``None`` does not limit calls at the same time.
    """
    try:
        loaded = load_script(script)
        target_of(url)
        for digits in press:
            if not digits or set(digits) - _DIGITS:
                raise ValueError(f"--press {digits!r}: expected digits, 0 to 9, * and #")
    except ValueError as error:
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        return EXIT_USAGE
    if loaded.patience_s is None:
        loaded = replace(loaded, patience_s=DEFAULT_PATIENCE_S)
    options = CallOptions(speed=speed)
    if press:
        loaded = replace(loaded, steps=tuple(Press(digits) for digits in press))
    if calls == 1:
        return _simulate_one(url, loaded, options, as_json=as_json)
    return _simulate_many(url, loaded, options, Load(calls, rate, concurrency), as_json=as_json)


def _simulate_one(url: str, script: Script, options: CallOptions, *, as_json: bool) -> int:
    if as_json:
        result = asyncio.run(simulate_call(url, script, options))
        _write_json(result.to_json())
    else:
        console = Console(highlight=False)
        result = asyncio.run(simulate_call(url, script, options, Conversation(console).show))
        print_end(console, result)
    return EXIT_GOOD if result.is_good else EXIT_FAILED


def _simulate_many(url: str, script: Script, options: CallOptions, load: Load, *, as_json: bool) -> int:
    columns = (TextColumn("calls"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=as_json, transient=True) as progress:
        task = progress.add_task("calls", total=load.calls)

        def on_result(summary: Summary) -> None:
            progress.update(task, completed=summary.calls)

        summary = asyncio.run(run_fleet(url, script, load, options, on_result))
    if as_json:
        _write_json(summary.to_json())
    else:
        print_summary(Console(highlight=False), summary)
    return EXIT_GOOD if summary.is_good else EXIT_FAILED


def _write_json(value: object) -> None:
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")

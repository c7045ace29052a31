"""One child process of `dev`: its output with a prefix, its end, its stop."""

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from jambonz_shared.runtime.lifeline import die_with_parent

# A worker or gateway that was told to drain gets this long, then is hastened, then killed: nobody waits for `dev`.
DRAIN_LIMIT_S: Final = 5.0
HASTE_LIMIT_S: Final = 5.0

# A line longer than this (a dumped object) is shown in pieces instead of ending the pump.
_LINE_LIMIT_BYTES: Final = 1024 * 1024

Say = Callable[[str, str], None]


class Part:
    """A child process that can be started again; it is killed if this process dies."""

    def __init__(self, name: str, argv: Sequence[str], environ: Mapping[str, str], say: Say) -> None:
        self.name = name
        self._argv = argv
        self._environ = environ
        self._say = say
        self._process: asyncio.subprocess.Process | None = None
        self._pump: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process and show what it writes; call ``stop`` before starting it again."""
        self._process = await asyncio.create_subprocess_exec(
            *self._argv,
            env=dict(self._environ),  # uvloop takes nothing but a dict
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=_LINE_LIMIT_BYTES,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL),
        )
        assert self._process.stdout is not None
        self._pump = asyncio.create_task(self._show(self._process.stdout), name=f"output of {self.name}")

    async def ended(self) -> int:
        """Wait until the process has ended and all it wrote is shown; return its exit code."""
        assert self._process is not None, "start() comes first"
        assert self._pump is not None, "start() comes first"
        code = await self._process.wait()
        await asyncio.shield(self._pump)
        return code

    async def stop(self, haste: asyncio.Event | None = None) -> None:
        """End the process: by request, in haste after a while or as soon as asked, by force at last."""
        if self._process is None:
            return
        for number, limit_s, event in (
            (signal.SIGTERM, DRAIN_LIMIT_S, haste),
            (signal.SIGTERM, HASTE_LIMIT_S, None),
            (signal.SIGKILL, HASTE_LIMIT_S, None),
        ):
            if self._process.returncode is not None:
                break
            self._process.send_signal(number)
            await self._ended_within(limit_s, event)
        if self._pump is not None:
            await self._pump

    async def _ended_within(self, limit_s: float, haste: asyncio.Event | None) -> None:
        assert self._process is not None
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._process.wait())]
        if haste is not None:
            tasks.append(asyncio.create_task(haste.wait()))
        await asyncio.wait(tasks, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def _show(self, output: asyncio.StreamReader) -> None:
        while True:
            try:
                line = await output.readline()
            except ValueError:
                # readline() has thrown away what was over the limit.
                self._say(self.name, "(a line of more than 1 MiB was left out)")
                continue
            if not line:
                return
            self._say(self.name, line.decode(errors="replace").rstrip("\r\n"))


class Screen:
    """Writes lines with the name of the part they come from, in its colour on a terminal."""

    _COLOURS: Final = {"dev": "1", "gateway": "36", "worker": "35", "redis": "33", "caller": "32"}

    def __init__(self) -> None:
        self._has_colour = sys.stdout.isatty()

    def say(self, name: str, line: str) -> None:
        """Write one line."""
        prefix = f"{name:>7} |"
        if self._has_colour:
            prefix = f"\x1b[{self._COLOURS.get(name, '0')}m{prefix}\x1b[0m"
        sys.stdout.write(f"{prefix} {line}\n")
        sys.stdout.flush()

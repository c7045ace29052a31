"""Runs one gateway or worker process, or a supervisor of several."""

import errno
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from jambonz_cluster.options import EXIT_FAILED
from jambonz_shared.config import GatewaySettings, ProcessSettings
from jambonz_shared.environment import flag_of
from jambonz_shared.errors import LifespanFailed
from jambonz_shared.redis.errors import ResponseError
from jambonz_shared.runtime.loop import run_in_loop
from jambonz_shared.runtime.supervisor import Supervisor
from jambonz_shared.telemetry.logging import logging_to

log = logging.getLogger(__name__)

Serve = Callable[[int], Coroutine[Any, Any, None]]


def run_processes(settings: ProcessSettings, serve: Serve, process_index: int | None, arguments: Sequence[str]) -> int:
    """Run the processes that the settings ask for to their end and return the exit code.

    With one process, or as one of several (``process_index``), it runs here. Otherwise children run ``arguments``
    of this command line once more, each with its index.
    """
    with logging_to(level=settings.log_level, style=settings.log_format):
        if settings.processes == 1 or process_index is not None:
            return _run_here(settings, serve, process_index or 0)
        supervisor = Supervisor(lambda index: child_argv(arguments, index), settings.processes)
        return run_in_loop(supervisor.run())


def child_argv(arguments: Sequence[str], process_index: int) -> list[str]:
    """Return the command of one of several processes."""
    return [sys.executable, "-m", "jambonz_cluster", *arguments, "--process-index", str(process_index)]


def _run_here(settings: ProcessSettings, serve: Serve, process_index: int) -> int:
    # SIGHUP asks to read files again; a process that has none, or is not that far, must not die of it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run_in_loop(serve(process_index))
    except Exception as error:
        # The edge of the process: whatever it was is written down, and the exit code tells the supervisor.
        cause = cause_of(error)
        if isinstance(cause, LifespanFailed):
            # Its author has to see where.
            log.error("cannot run: %s", cause, exc_info=cause.__cause__)
        elif isinstance(cause, OSError):
            # A port that is taken, an address that is not ours: the sentence of the system says it all.
            log.error("cannot run: %s%s", cause, _cure_of(cause, settings))
        elif isinstance(cause, ResponseError):
            # Redis has no memory left, or its user lacks a right: `doctor` tells which. Its text may hold arguments.
            log.error("cannot run: Redis refuses a command with %s; see `jambonz-cluster doctor`", cause.code)
        else:
            log.exception("ended by an error")
        return EXIT_FAILED
    return 0


def _cure_of(error: OSError, settings: ProcessSettings) -> str:
    """Return which option gives another port, if one is taken; asyncio and uvloop name the address alike."""
    if error.errno != errno.EADDRINUSE:
        return ""
    is_public = isinstance(settings, GatewaySettings) and f", {settings.port})" in str(error)
    return f"; choose another port with {flag_of('port' if is_public else 'internal_port')}"


def cause_of(error: Exception) -> Exception:
    """Return the one error inside groups of one, such as a TaskGroup raises; otherwise the error itself."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error

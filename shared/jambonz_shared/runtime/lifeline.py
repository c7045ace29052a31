"""Ties a child process to the life of its parent, however the parent dies."""

import ctypes
import os
import signal
from collections.abc import Callable
from typing import Final

# <linux/prctl.h>: the calling process gets the signal when its parent dies, by kill -9 as well.
PR_SET_PDEATHSIG: Final = 1

# Loaded before any fork: a child between fork and exec must not import or allocate more than it has to.
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """Return a ``preexec_fn`` for ``subprocess`` after which the child gets the signal when its parent ends.

    The kernel counts the end of the *thread* that started the child, so start children from a thread that lives as
    long as the process (the main one).
    """
    parent_pid = os.getpid()

    def tie() -> None:  # pragma: no cover  runs between fork and exec, where nothing can measure
        _LIBC.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0)
        # The parent may have died between fork and prctl; then nobody would ever send the signal.
        if os.getppid() != parent_pid:
            os._exit(1)

    return tie

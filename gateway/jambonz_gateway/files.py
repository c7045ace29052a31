"""Files that are read again when they have changed: credentials, certificates."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jambonz_shared.runtime.patience import wait_at_most

log = logging.getLogger(__name__)

# A look at the clock of a few files costs nothing, and works for the symbolic links that Kubernetes swaps.
_LOOK_EVERY_S: Final = 1.0

Stamps = tuple[tuple[int, int, int] | None, ...]


@dataclass(slots=True)
class _Followed:
    paths: tuple[Path, ...]
    read: Callable[[], None]
    stamps: Stamps


class FollowedFiles:
    """Calls back when files have changed, or when ``reload`` is set."""

    def __init__(self, reload: asyncio.Event, on_failure: Callable[[], None]) -> None:
        self._reload: Final = reload
        self._on_failure: Final = on_failure
        self._followed: Final[list[_Followed]] = []

    def follow(self, paths: Sequence[str], read: Callable[[], None]) -> None:
        """Call ``read`` when one of these files has changed; empty paths are left out.

        It may raise OSError or ValueError for files that cannot be used; then everything stays as it was.
        """
        given = tuple(Path(path) for path in paths if path)
        if given:
            self._followed.append(_Followed(given, read, _stamps(given)))

    async def run(self) -> None:
        """Look once a second, and at once when asked to; runs until it is cancelled."""
        while True:
            await wait_at_most(self._reload, _LOOK_EVERY_S)
            is_asked = self._reload.is_set()
            self._reload.clear()
            for followed in self._followed:
                self._look(followed, is_asked=is_asked)

    def _look(self, followed: _Followed, *, is_asked: bool) -> None:
        stamps = _stamps(followed.paths)
        if stamps == followed.stamps and not is_asked:
            return
        followed.stamps = stamps
        names = ", ".join(map(str, followed.paths))
        try:
            followed.read()
        except (OSError, ValueError) as error:
            # The old content serves on: a half-written file must not shut everybody out.
            self._on_failure()
            log.error("file cannot be used, the old one stays in force", extra={"files": names, "why": str(error)})
        else:
            log.info("file read again", extra={"files": names})


def _stamps(paths: tuple[Path, ...]) -> Stamps:
    """Return what changes when a file is written or replaced; ``None`` for one that is not there."""
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            stat = path.stat()
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return tuple(found)

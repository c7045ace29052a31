"""Events that no worker has taken for so long that nobody can use them any more: they are taken out of dispatch."""

import logging
from collections.abc import Collection
from typing import Final

from jambonz_gateway.downlink import HELD_TTL_S
from jambonz_shared.keys import GROUP, Keys
from jambonz_shared.redis import script
from jambonz_shared.redis.errors import LinkError, ResponseError
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import trim_args

log = logging.getLogger(__name__)

# An older worker than that has left no inbox and no name either (architecture.md, keys), so nobody adopts what it had.
_PENDING_MS: Final = HELD_TTL_S * 1000
# Workers may come back, and the caller of a live call hear a long fallback until then; nor is our clock that of Redis.
_AGE_MS: Final = 3_600_000


class Dispatches:
    """Keeps the streams of apps whose workers are away, perhaps for good, from growing for ever."""

    def __init__(self, link: Link, keys: Keys, *, call_ttl_s: float) -> None:
        """``call_ttl_s``: what is older is of a call that has ended, or has been without a worker for so long."""
        self._link: Final = link
        self._keys: Final = keys
        self._age_ms: Final = max(int(call_ttl_s * 1000), _AGE_MS)
        self._is_told = False

    async def trim(self, apps: Collection[str], now_ms: int) -> None:
        """Take out what is too old; an event that a worker has begun to handle stays while somebody may adopt it."""
        for app in apps:
            dispatch = self._keys.dispatch(app)
            try:
                before_ms = await self._before_ms(dispatch, now_ms)
                # Not about: the last hundred would stay for good, and they are personal data.
                await self._link.script_call(script.TRIM, *trim_args(dispatch, before_ms))
            except LinkError:
                return
            except ResponseError as error:
                self._tell(error)

    async def _before_ms(self, dispatch: str, now_ms: int) -> int:
        before_ms = now_ms - self._age_ms
        try:
            pending = await self._link.call(b"XPENDING", dispatch, GROUP)
        except ResponseError:
            # No such group: no worker was ever here.
            return before_ms
        assert isinstance(pending, list)
        _, oldest, *_ = pending
        if isinstance(oldest, bytes):
            oldest_ms = int(oldest.partition(b"-")[0])
            before_ms = min(before_ms, max(oldest_ms, now_ms - _PENDING_MS))
        return before_ms

    def _tell(self, error: ResponseError) -> None:
        if not self._is_told:
            self._is_told = True
            log.warning("dispatch cannot be trimmed: may this user of Redis XTRIM?", extra={"code": error.code})

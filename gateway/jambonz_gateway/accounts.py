"""How fast messages may come, by number and size: of one call, and of one account with all its calls here. Pure."""

from typing import Final

import orjson

from jambonz_gateway.bucket import Bucket
from jambonz_shared.wire import decode_json

# A call may use so many seconds of its rate at once, an account too: an LLM or a token stream talks in bursts.
_BURST_S: Final = 10.0
# A message counts once for each KiB of it that is begun: what fills Redis are bytes. jambonz's have 1 to 6 KiB, SIP
# headers included.
_COST_SHIFT: Final = 10
# jambonz's are UUIDs; whatever somebody else sends must not fill the memory.
_SID_MAX: Final = 64


class Account:
    """One account with calls here; see ``Accounts``."""

    __slots__ = ("bucket", "calls", "sid")

    def __init__(self, sid: str, bucket: Bucket) -> None:
        self.sid: Final = sid
        self.bucket: Final = bucket
        self.calls = 0


class Accounts:
    """The paces of all Connections, and a token bucket for each account.

    An account that is alone is never slowed down: there is nobody it could harm. Its bucket outlives its last call
    until it is full again, so that a flood gains nothing by hanging up.
    """

    def __init__(self, *, call_rate: int, account_rate: int, burst_s: float = _BURST_S) -> None:
        """Allow so many messages of up to 1 KiB per second, and those of ``burst_s`` seconds at once."""
        self._call_rate: Final = call_rate
        self._account_rate: Final = account_rate
        self._burst_s: Final = burst_s
        self._live: Final[dict[str, Account]] = {}
        self._left: Final[dict[str, Account]] = {}

    def pace(self, now_s: float) -> "Pace":
        """Return the pace of a new Connection."""
        return Pace(self, Bucket(self._call_rate, self._call_rate * self._burst_s, now_s))

    def __len__(self) -> int:
        """Accounts with a call, and those that are remembered."""
        return len(self._live) + len(self._left)

    def join(self, sid: str, now_s: float) -> Account:
        """Count one more call of an account; ``leave`` when it is gone."""
        account = self._live.get(sid) or self._left.pop(sid, None)
        if account is None:
            account = Account(sid, Bucket(self._account_rate, self._account_rate * self._burst_s, now_s))
        self._live[sid] = account
        account.calls += 1
        return account

    def leave(self, account: Account, now_s: float) -> None:
        """Take back what ``join`` has counted."""
        account.calls -= 1
        if account.calls == 0:
            self._left[account.sid] = self._live.pop(account.sid)
        # Whoever left first is full first, nearly; those behind it are looked at when somebody else leaves.
        for sid, left in list(self._left.items()):
            if not left.bucket.is_full(now_s):
                break
            del self._left[sid]

    def take(self, account: Account, now_s: float, cost: float = 1.0) -> float:
        """Count one message and return how many seconds not to listen to its call; 0 while there is room."""
        return account.bucket.take(now_s, cost) if len(self._live) > 1 else 0.0


class Pace:
    """How fast one Connection may talk.

    Attributes:
        is_account_over: Its account has made it wait the last time, not the call alone.
    """

    __slots__ = ("_account", "_accounts", "_bucket", "is_account_over")

    def __init__(self, accounts: Accounts, bucket: Bucket) -> None:
        self._accounts: Final = accounts
        self._bucket: Final = bucket
        self._account: Account | None = None
        self.is_account_over = False

    def take(self, message: bytes, now_s: float) -> float:
        """Count a message and return how many seconds not to listen; 0 while there is room.

        The first one tells the account: jambonz puts it into the facts of the call (PROTOCOL.md 2.4).
        """
        if self._account is None:
            self._account = self._accounts.join(_account_in(message), now_s)
        return self.take_frame(now_s, 1 + (len(message) >> _COST_SHIFT))

    def take_frame(self, now_s: float, cost: float = 1.0) -> float:
        """Do the same for what is no message: a ping, a pong, a part of one, which is weighed when it is whole."""
        account_s = self._accounts.take(self._account, now_s, cost) if self._account else 0.0
        call_s = self._bucket.take(now_s, cost)
        if account_s <= call_s:
            return call_s
        self.is_account_over = True
        return account_s

    def end(self, now_s: float) -> None:
        """The Connection is gone."""
        if self._account is not None:
            self._accounts.leave(self._account, now_s)
            self._account = None


def _account_in(message: bytes) -> str:
    """Return ``data.account_sid``; all who do not tell one share the empty one."""
    try:
        sid = decode_json(message)["data"]["account_sid"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return ""
    return sid if isinstance(sid, str) and len(sid) <= _SID_MAX else ""

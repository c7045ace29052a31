"""Look-ups of host names that hold up nobody.

A name server that does not answer keeps ``getaddrinfo`` for 5 s and more (resolv.conf(5), ``timeout``). Docker's is
silent about a container that is down when nobody answers its own question; that of Kubernetes, when a packet is lost.
uvloop asks in a pool where two such look-ups keep all later ones waiting (libuv runs slow work in half of its four
threads), so that a Redis which is back after a second is found after five: all the time that a hook has (ADR 0018).
"""

import asyncio
import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Addresses: TypeAlias = tuple[str, ...]

# A name server that is well answers in milliseconds. After this time another question may be the one that is answered,
# and what was found last is worth a try.
_PATIENCE_S: Final = 0.25

# Look-ups of one name that may be under way at a time; whoever comes then waits for the newest.
_AT_ONCE: Final = 16


@dataclass(slots=True)
class _Asked:
    """What is known of a name: its addresses when they were last found, and the look-ups that have not ended."""

    addresses: Addresses = ()
    newest: "Future[Addresses | OSError]" = field(default_factory=Future)
    begun_s: float = float("-inf")
    under_way: int = 0


class Names:
    """Looks host names up, each in a thread of its own that ends with the process; keeps what was found last."""

    def __init__(self, look_up: Callable[[str], Addresses]) -> None:
        self._look_up = look_up
        self._asked: dict[str, _Asked] = {}
        self._lock = threading.Lock()

    async def addresses_of(self, host: str) -> Addresses:
        """Return the addresses of a host, one at least: what the name server says; while it is silent, what it said.

        Raises:
            OSError: If there is no such host, or nothing is known of it now.
        """
        with suppress(ValueError):
            return (str(ipaddress.ip_address(host)),)
        asked = self._asked.setdefault(host, _Asked())
        answer = asyncio.wrap_future(self._ask(host, asked))
        try:
            await asyncio.wait((answer,), timeout=_PATIENCE_S if asked.addresses else None)
            found = answer.result() if answer.done() else None
        finally:
            # The loop may be closed when the look-up ends.
            answer.cancel()
        if isinstance(found, tuple):
            return found
        if asked.addresses and (found is None or _is_silence(found)):
            return asked.addresses
        assert found is not None, "without addresses it is waited for"
        raise found

    def _ask(self, host: str, asked: _Asked) -> "Future[Addresses | OSError]":
        """Return the answer to come.

        Raises:
            OSError: If the process may have no more threads.
        """
        with self._lock:
            is_new = asked.under_way == 0 or time.monotonic() - asked.begun_s >= _PATIENCE_S
            if not is_new or asked.under_way >= _AT_ONCE:
                return asked.newest
            answer: Future[Addresses | OSError] = Future()
            # Whoever stops waiting cancels nobody else's answer.
            answer.set_running_or_notify_cancel()
            thread = threading.Thread(target=self._answer, args=(host, asked, answer), name="names", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                # The limit of the container, pids_limit.
                raise OSError(str(error)) from None
            asked.newest, asked.begun_s = answer, time.monotonic()
            asked.under_way += 1
            return answer

    def _answer(self, host: str, asked: _Asked, answer: "Future[Addresses | OSError]") -> None:
        found: Addresses | OSError
        try:
            found = self._look_up(host)
        except (OSError, ValueError) as error:
            # ValueError: a label of more than 63 characters, a zero in a name.
            found = error if isinstance(error, OSError) else OSError(str(error))
        with self._lock:
            asked.under_way -= 1
            if isinstance(found, tuple):
                asked.addresses = found
        answer.set_result(found)


def _look_up(host: str) -> Addresses:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def _is_silence(error: OSError) -> bool:
    """Tell "nobody answered" from "there is no such host"."""
    return isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN


# Of the process: all its connections to a server know what one of them has found.
NAMES: Final = Names(_look_up)

"""What of a call outlives the worker that owns it: its state, its timers, and its transfer to another app."""

import time
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Final

from jambonz_workers.controls import Controls
from jambonz_workers.handling import Handling
from jambonz_workers.routing import checked_app_name, checked_path
from jambonz_workers.state import CallState
from jambonz_workers.threads import running_loop
from jambonz_workers.timers import Timers
from jambonz_workers.transfer import consent_to, redirect_verb

# No call lives as long; the clocks of event loops and Redis count further.
_LONGEST_S: Final = 1e9


class Durable(Controls):
    """Methods that change the call's state, so that whichever worker owns the call then goes on with them."""

    __slots__ = ()

    app: str
    timers: Timers
    _state: CallState

    @property
    def state(self) -> CallState:
        """The application's own fields, kept in Redis. They are set one by one; the mapping cannot be replaced."""
        return self._state

    @abstractmethod
    def _current(self) -> Handling | None:
        """Return the handler of the call that runs here, in the event loop or in its thread."""

    @abstractmethod
    def _save_aside(self) -> None:
        """Save the state now, unless a handler has it in its hands and saves it with its effects."""

    @abstractmethod
    def _expect_transfer(self) -> None:
        """Find out, a while from now, whether the call belongs to another app."""

    def after(self, seconds: float, path: str, data: Mapping[str, Any] | None = None) -> str:
        """Have the handler of ``@app.hook(path)`` run in ``seconds``, at whichever worker owns the call then.

        Inside a handler it is set together with the handler's other effects. It runs as any handler of the call, in its
        turn, with ``data`` as ``event.data``; what it does takes effect at most once. It has nobody to answer:
        verbs that it returns go out by a redirect. It is gone when the call ends.

        Returns:
            What ``cancel_timer`` takes.

        Raises:
            ValueError: If ``seconds`` is negative, no number or beyond thirty years, or ``path`` no path, or one with a
                variable instead of its value.
            TypeError: If ``seconds`` is no number, ``data`` no mapping, or JSON cannot hold it.
            RuntimeError: In a thread outside of a handler, as all of these.
        """
        if not isinstance(seconds, int | float):
            raise TypeError(f"call.after(): expected a number of seconds, got {type(seconds).__name__}")
        if data is not None and not isinstance(data, Mapping):
            raise TypeError(f"call.after(): expected a dict as data, got {type(data).__name__}")
        if not 0 <= seconds <= _LONGEST_S:
            raise ValueError(f"call.after(): expected seconds from 0 to {_LONGEST_S:,.0f}, got {seconds!r}")
        if "{" in checked_path(path):
            raise ValueError(f"call.after(): expected a path with its variables filled in, got {path!r}")
        self._check_loop("call.after()")
        timer_id = self.timers.set(seconds, checked_path(path), data or {})
        self._save_aside()
        return timer_id

    def cancel_timer(self, timer_id: str) -> bool:
        """Cancel a timer of ``after``; False if it has run, or never was."""
        self._check_loop("call.cancel_timer()")
        is_found = self.timers.forget(timer_id)
        self._save_aside()
        return is_found

    def transfer(self, app: str, url: str, *, state: Mapping[str, object] | None = None) -> dict[str, object]:
        """Return the verb that hands the call to another app of this cluster, and consent to it.

        ``return call.transfer("sales", "wss://voice.example.net/sales")``, alone or behind other verbs, or give it to
        ``redirect``. jambonz opens a websocket at ``url``; the app there gets ``session:redirect`` and owns the call
        from then on. It gets the call's facts without ``env_vars``, and of the state what ``state`` names. Here
        background work is cancelled, and what is still sent raises ``CallTransferred``. The consent is saved with the
        handler's effects; it ends after 60 s, and when another one is given.

        Args:
            app: Who may take the call.
            url: Of a session of that app. If it needs a login, with user and password (``wss://user:password@host/``),
                since jambonz sends no other here. ``call_sid`` is added to its query.
            state: What the call's state holds for that app.

        Raises:
            ValueError: If ``app`` is no name or this app's own, ``url`` no websocket URL, or a name of ``state``
                reserved.
            TypeError: If JSON cannot hold a value of ``state``.
            RuntimeError: Of a leg of a dial, which has no websocket of its own to be moved.
        """
        self._check_loop("call.transfer()")
        if checked_app_name(app) == self.app:
            raise ValueError(
                f"call.transfer(): the call is {app!r}'s already; to stay in the app return a redirect verb"
            )
        if not self.has_own_socket:
            raise RuntimeError(
                f"call.transfer(): call {self.sid!r} is a leg without a websocket of its own; transfer the call that "
                f"dialled it, {self.parent_call_sid!r}, or part the two first"
            )
        verb = redirect_verb(url, self.sid)
        now_ms = time.time_ns() // 1_000_000
        consent_to(self.state, app, facts=self.facts, state=state or {}, now_ms=now_ms)
        self._expect_transfer()
        self._save_aside()
        return verb

    def _check_loop(self, what: str) -> None:
        """Let pass who may change the state: a handler, whose effects wait for it, or the event loop."""
        if self._current() is None:
            running_loop(f"{what} outside of a handler")

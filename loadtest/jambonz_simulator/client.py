"""Plays simulated calls against a real server, as a whole or driven by hand."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from jambonz_simulator.core.call import Pace, SimulatedCall
from jambonz_simulator.core.records import CallResult, CommandRecord, Entry, HookRecord
from jambonz_simulator.core.script import DropSocket, Script, SendHook, SendNotice, Step
from jambonz_simulator.core.timing import JAMBONZ_TIMING, Timing
from jambonz_simulator.core.verbs import Verb
from jambonz_simulator.random_ids import RandomIds
from jambonz_simulator.script_files import load_script
from jambonz_simulator.shell import CallShell, NotInTime

DEFAULT_WAIT_S: Final = 10.0

# How long a server may take to reap a socket that jambonz never closes (PROTOCOL.md 1.4, 12).
ORPHAN_LINGER_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class CallOptions:
    """How a call is simulated; what happens in it is told by its `Script`.

    Attributes:
        credentials: User and password for basic authentication.
        speed: How many times faster than in life media and people are; protocol times stay.
        timing: The times of the protocol; ``JAMBONZ_TIMING.scaled(0.1)`` for impatient tests.
        keeps_entries: Whether the transcript is kept.
        seed: Makes ids repeatable.
        orphan_linger_s: How long after the end a socket that jambonz never closes is left open.
    """

    credentials: tuple[str, str] | None = None
    speed: float = 1.0
    timing: Timing = JAMBONZ_TIMING
    keeps_entries: bool = True
    seed: int | None = None
    orphan_linger_s: float = ORPHAN_LINGER_S


DEFAULT_OPTIONS: Final = CallOptions()


class LiveCall(CallShell):
    """A running simulated call, for tests that drive it by hand; see `live_call`."""

    def __init__(self, url: str, script: Script, options: CallOptions) -> None:
        pace = Pace(options.timing, options.speed, options.keeps_entries)
        ids = RandomIds(options.seed)
        super().__init__(SimulatedCall(url, script, ids, credentials=options.credentials, pace=pace))

    # Looking.

    @property
    def call_sid(self) -> str:
        """The call_sid of the call."""
        return self.core.info.call_sid

    @property
    def hooks(self) -> list[HookRecord]:
        """All messages so far that want an ack."""
        return self.core.hooks

    @property
    def commands(self) -> list[CommandRecord]:
        """All commands so far, with jambonz's verdict on each."""
        return self.core.world.ledger.commands

    @property
    def anomalies(self) -> list[str]:
        """Kinds of all anomalies so far."""
        return [anomaly.kind for anomaly in self.core.world.ledger.anomalies]

    @property
    def current_verb(self) -> Verb | None:
        """The running verb, ``None`` while jambonz waits for commands."""
        return self.core.session.current

    @property
    def customer_data(self) -> Mapping[str, Any]:
        """What the last tag verb has set."""
        return self.core.info.customer_data

    @property
    def is_connected(self) -> bool:
        """True while the socket of the application is open."""
        return self.core.session.requestor.connection is not None

    @property
    def result(self) -> CallResult | None:
        """The result, once the call is over."""
        return self.core.result

    # Waiting.

    async def wait_for(
        self, what: str, condition: Callable[["LiveCall"], object], timeout_s: float | None = DEFAULT_WAIT_S
    ) -> None:
        """Wait until ``condition(self)`` is true; looked at after everything that happens.

        Raises:
            NotInTime: If it has not come true in time, or the call ended without it.
        """
        await self.wait_until(what, lambda: condition(self), timeout_s)

    async def wait_for_verb(self, name: str, timeout_s: float = DEFAULT_WAIT_S) -> Verb:
        """Wait until a verb of this name runs, and give it."""
        await self.wait_for(f"verb {name!r} runs", lambda call: call.core.session.current_name == name, timeout_s)
        verb = self.current_verb
        assert verb is not None
        return verb

    async def wait_for_hook(
        self, hook: str | None = None, *, kind: str = "verb:hook", count: int = 1, timeout_s: float = DEFAULT_WAIT_S
    ) -> HookRecord:
        """Wait until the ``count``-th such hook has been acked or has died, and give its record."""

        def settled() -> list[HookRecord]:
            found = [r for r in self.hooks if r.kind == kind and hook in (None, r.hook)]
            return [record for record in found if record.is_acked or record.dead_by]

        what = f"{kind} {hook or ''} settled, {count} times"
        await self.wait_for(what, lambda _: len(settled()) >= count, timeout_s)
        return settled()[count - 1]

    async def wait_for_command(
        self, command: str, *, count: int = 1, timeout_s: float = DEFAULT_WAIT_S
    ) -> CommandRecord:
        """Wait for the ``count``-th such command, accepted or not, and give its record."""

        def found() -> list[CommandRecord]:
            return [record for record in self.commands if record.command == command]

        await self.wait_for(f"command {command!r}, {count} times", lambda _: len(found()) >= count, timeout_s)
        return found()[count - 1]

    async def wait_for_sockets(self, count: int, timeout_s: float = DEFAULT_WAIT_S) -> None:
        """Wait until ``count`` sockets have been opened in the life of the call."""
        await self.wait_for(f"{count} sockets opened", lambda call: call.core.world.ledger.sockets >= count, timeout_s)

    async def wait_for_end(self, timeout_s: float | None = 60.0) -> CallResult:
        """Wait until the call is over and give its result."""
        await self.wait_for("the call is over", lambda call: call.core.result is not None, timeout_s)
        assert self.core.result is not None
        return self.core.result

    # Acting.

    async def press(self, digits: str, timeout_s: float = DEFAULT_WAIT_S) -> None:
        """Wait until a verb listens, then press digits."""
        await self._wait_for_ears("digits", timeout_s)
        was_heard, effects = self.core.press(digits, monotonic())
        self._carry_out(effects)
        if not was_heard:
            raise NotInTime(f"the running verb takes no digits; {self._story()}")

    async def say(self, text: str, *, confidence: float = 0.9, timeout_s: float = DEFAULT_WAIT_S) -> None:
        """Wait until a verb listens, then say something."""
        await self._wait_for_ears("speech", timeout_s)
        was_heard, effects = self.core.speak(text, confidence, monotonic())
        self._carry_out(effects)
        if not was_heard:
            raise NotInTime(f"the running verb takes no speech; {self._story()}")

    async def _wait_for_ears(self, what: str, timeout_s: float) -> None:
        def listens(call: "LiveCall") -> bool:
            return call.core.session.ears.is_open or call.core.session.barge_in is not None

        await self.wait_for(f"a verb that listens to {what}", listens, timeout_s)

    def hang_up(self) -> None:
        """The caller hangs up."""
        self._carry_out(self.core.hang_up(monotonic()))

    def drop_socket(self, code: int = 1006) -> None:
        """Lose the socket of the application; jambonz reconnects unless ``code`` is 1000."""
        self.do(DropSocket(code))

    async def send_hook(
        self,
        hook: str,
        data: Mapping[str, Any] | None = None,
        *,
        args: Mapping[str, Any] | None = None,
        kind: str = "verb:hook",
        timeout_s: float = DEFAULT_WAIT_S,
    ) -> HookRecord:
        """Send a hook that no verb asked for; give its record when acked or dead.

        The verbs of the ack are not run, as in the conformance runner.
        """
        count = sum(r.kind == kind and r.hook == hook for r in self.hooks) + 1
        self.start_hook(hook, data, args=args, kind=kind)
        return await self.wait_for_hook(hook, kind=kind, count=count, timeout_s=timeout_s)

    def start_hook(
        self,
        hook: str,
        data: Mapping[str, Any] | None = None,
        *,
        args: Mapping[str, Any] | None = None,
        kind: str = "verb:hook",
    ) -> None:
        """Send a hook without waiting for its fate; see `send_hook`."""
        self.do(SendHook(hook, data or {}, args, kind))

    def send_notice(self, kind: str, data: Mapping[str, Any] | None = None, hook: str | None = None) -> None:
        """Send a message that wants no ack, with exactly this data (its keys converted)."""
        self.do(SendNotice(kind, data or {}, hook))

    def send_raw(self, payload: str | bytes) -> None:
        """Put any text on the socket, past all rules; bytes are sent as text as well."""
        connection = self.core.session.requestor.connection
        if connection is None:
            raise NotInTime(f"no open socket to send on; {self._story()}")
        self._sockets[connection].send_text(payload.encode() if isinstance(payload, str) else payload)
        self._sockets[connection].flush()

    def do(self, step: Step) -> None:
        """Have the caller do a step of a script."""
        self._carry_out(self.core.do(step, monotonic()))


@asynccontextmanager
async def live_call(
    url: str, script: Script | str | None = None, options: CallOptions = DEFAULT_OPTIONS
) -> AsyncIterator[LiveCall]:
    """Start a call to drive by hand; at the end of the block its sockets are dropped.

    Without a script an inbound call arrives and the caller stays until told otherwise.
    """
    call = LiveCall(url, _script_of(script), options)
    call.start()
    try:
        yield call
    finally:
        await call.leave()


async def simulate_call(
    url: str,
    script: Script | str = "hello",
    options: CallOptions = DEFAULT_OPTIONS,
    on_entries: Callable[[Sequence[Entry]], object] | None = None,
) -> CallResult:
    """Play a whole call and give its result; weather and misbehaviour are told by the result.

    Args:
        url: ``ws://`` or ``wss://``, userinfo and hash options allowed.
        script: A script, the name of a built-in one, or the path of a JSON file.
        options: See `CallOptions`.
        on_entries: Called with all of the transcript so far, after everything that happens.

    Raises:
        ScriptError: If the script cannot be found or read.
    """
    call = LiveCall(url, _script_of(script), options)

    def is_over(_: LiveCall) -> bool:
        if on_entries is not None:
            on_entries(call.core.world.ledger.entries)
        return call.core.result is not None

    call.start()
    try:
        await call.wait_for("the call is over", is_over, timeout_s=None)
        result = await call.wait_for_end()
        if await call.wait_for_reaping(options.orphan_linger_s):
            return result
        return result.left_unreaped()
    finally:
        await call.leave()


def _script_of(script: Script | str | None) -> Script:
    if script is None:
        return Script()
    return load_script(script) if isinstance(script, str) else script

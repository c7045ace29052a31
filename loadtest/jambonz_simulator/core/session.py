"""One leg under the control of an application: its verb stack, hooks, statuses and end. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, assert_never

from jambonz_simulator.core.acks import Reply, ReplyAcked, ReplyDead, ReplyNone
from jambonz_simulator.core.ears import Ears, Heard
from jambonz_simulator.core.frames import CommandFrame
from jambonz_simulator.core.info import CallInfo
from jambonz_simulator.core.kernel import Process, Promise, Steps
from jambonz_simulator.core.requestor import Requestor
from jambonz_simulator.core.script import Dial, Script
from jambonz_simulator.core.tts_buffer import TtsBuffer
from jambonz_simulator.core.urls import is_absolute_ws, is_usable
from jambonz_simulator.core.verbs import VERBS_WITHOUT_ANSWER, InvalidVerbs, Verb, hook_path, read_verbs
from jambonz_simulator.core.world import World

VerbEnd: TypeAlias = Literal["next", "ends_call"]
Runner: TypeAlias = Callable[["Session", Verb], Steps[VerbEnd]]
Applied: TypeAlias = Literal["nothing", "replaced", "failed"]
RingsOff: TypeAlias = Literal["declined", "cancelled"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a session gets from the call it belongs to.

    Attributes:
        runners: How each verb runs.
        open_requestor: Gives a requestor for another application URL, ready for commands.
        adult: Gives a leg of a dial a life of its own (PROTOCOL.md 2.7), until its callee leaves.
    """

    runners: dict[str, Runner]
    open_requestor: Callable[[str], Requestor]
    adult: Callable[[CallInfo, list[Verb], Promise[None] | None], None]


def goes_on() -> VerbEnd:
    """A verb has failed; the next one follows."""
    return "next"


def ends_call() -> VerbEnd:
    """A verb has failed with an exception that leaves the loop of the session (call-session.js, exec)."""
    return "ends_call"


@dataclass(frozen=True, slots=True)
class LastWords:
    """What a verb tells its actionHook when it is done or killed; nothing else runs until that is acked.

    Attributes:
        results: Gives the fields of the message at that time.
        if_failed: What follows when there is no ack or its verbs are invalid.
        is_moot_if_replaced: The verbs of the ack are ignored if others had replaced the verb (PROTOCOL.md 2.8).
        kind: Type of the message.
    """

    results: Callable[[], dict[str, Any]]
    if_failed: Callable[[], VerbEnd] = goes_on
    is_moot_if_replaced: bool = False
    kind: str = "verb:hook"


class Session:
    """The call session of one leg.

    Attributes:
        requestor: Where hooks go and commands come from; the redirect verb replaces it.
        notifier: Where call:status goes; stays when the requestor is replaced.
        stack: Verbs to run, the first one next.
        current: The running verb, ``None`` while the session waits for commands.
        last_words: What the running verb still has to tell, ``None`` if nothing.
        model_task: Takes tool outputs and updates while an llm verb runs.
        child: The session of the leg that a dial has connected.
        child_leaves: When its callee hangs up, ``None``: when the caller does.
        rings_off: Why an outbound call stops to ring before its time: declined or cancelled.
        is_cancelled: The caller has cancelled an inbound call before the first ack.
        failure: SIP status and reason that the caller of an unanswered call has heard.
    """

    def __init__(
        self,
        world: World,
        script: Script,
        info: CallInfo,
        requestor: Requestor,
        surroundings: Surroundings,
    ) -> None:
        self.world = world
        self.script = script
        self.info = info
        self.requestor = requestor
        self.notifier = requestor
        self.stack: list[Verb] = []
        self.current: Verb | None = None
        self.ears = Ears(world)
        self.tts = TtsBuffer(world, self.notice)
        self.last_words: LastWords | None = None
        self.model_task: Callable[[str, Any, Any], str] | None = None
        self.child: CallInfo | None = None
        self.child_leaves: Promise[None] | None = None
        self.barge_in: Verb | None = None
        self._is_barging_in = False
        self.adult = surroundings.adult
        self.is_background_transcribing = False
        self.is_on_hold = False
        self.notifies_events = False
        self.is_answered = False
        self.rings_off: Promise[RingsOff] = Promise(world.kernel)
        self.is_cancelled = False
        self.failure: tuple[int, str] | None = None
        self.is_over = False
        self.has_closed = False
        self._answered_at_s = world.kernel.now_s
        self._runners = surroundings.runners
        self._open_requestor = surroundings.open_requestor
        self._dials_taken = 0
        self._verb_process: Process[VerbEnd] | None = None
        self._is_replaced = False
        self._loop: Process[None] | None = None
        self._woken: Promise[None] = Promise(world.kernel)

    # Running verbs.

    def start(self, verbs: list[Verb]) -> None:
        """Begin to execute; call once."""
        self.stack = list(verbs)
        self._loop = self.world.kernel.spawn(self._execute())

    def replace(self, verbs: list[Verb]) -> None:
        """Kill the current verb and run these instead of all that was left, once its actionHook is acked (3.3)."""
        self.stack = list(verbs)
        self._is_replaced = True
        self.kill_current()
        self._wake()

    def append(self, verbs: list[Verb]) -> None:
        """Run these after all that is left; wakes a session that waits for commands."""
        self.stack.extend(verbs)
        self._wake()

    def kill_current(self) -> None:
        """End the running verb, unless it just waits for the ack of its actionHook; the next one follows."""
        if self._verb_process is not None:
            self._verb_process.kill()

    @property
    def current_name(self) -> str | None:
        """Name of the running verb, ``None`` while the session waits for commands."""
        return None if self.current is None else self.current["verb"]

    def _wake(self) -> None:
        self._woken.settle(None)

    def _execute(self) -> Steps[None]:
        while not self.is_over:
            if not self.stack:
                if self.requestor.is_closed_gracefully:
                    self.end("jambonz")
                    return
                self._woken = Promise(self.world.kernel)
                yield self._woken
                if not self.stack:
                    # call-session.js, exec(): its loop ends when it is woken and there is no verb to run.
                    self.end("jambonz")
                continue
            verb = self.stack.pop(0)
            end = yield from self._run_verb(verb)
            if end == "ends_call":
                self.end("jambonz")

    def _run_verb(self, verb: Verb) -> Steps[VerbEnd]:
        name = verb["verb"]
        self.current = verb
        self.last_words = None
        self._is_replaced = False
        self.notify_verb({"event": "starting", **_id_of(verb), "name": name})
        if name not in VERBS_WITHOUT_ANSWER:
            self.answer()
        process = self.world.kernel.spawn(self._runners[name](self, verb))
        self._verb_process = process
        end = yield process.finished
        self._verb_process = None
        told = yield from self._tell(verb, self.last_words)
        self.current = None
        self.notify_verb({"event": "finished", **_id_of(verb), "name": name})
        return "ends_call" if "ends_call" in (end, told) else "next"

    def _tell(self, verb: Verb, words: LastWords | None) -> Steps[VerbEnd]:
        """Send the actionHook and await its ack, even if the verb was killed (tasks/task.js, performAction)."""
        hook = hook_path(verb.get("actionHook"))
        if words is None or hook is None:
            return "next"
        is_moot = words.is_moot_if_replaced and self._is_replaced
        reply = yield self.hook(hook, words.results(), verb, words.kind)
        if not is_moot and self.apply(reply) == "failed":
            return words.if_failed()
        return "next"

    # Talking to the application.

    @property
    def has_begun(self) -> bool:
        """True once there are verbs to run, or to wait for."""
        return self._loop is not None

    def answer(self) -> None:
        """Take note that the call is answered, by jambonz or by the callee of an outbound call."""
        if self.is_answered:
            return
        self.is_answered = True
        self._answered_at_s = self.world.kernel.now_s
        self.set_status("in-progress", 200, "OK")

    def set_status(self, call_status: str, sip_status: int, sip_reason: str) -> None:
        """Change the status of the leg and tell the application."""
        self.info.set_status(call_status, sip_status, sip_reason)
        self.notifier.request("call:status", None, self.info.to_data(), self.info.next_b3())

    def notice(self, kind: str, data: dict[str, Any], hook: str | None = None) -> None:
        """Send a message that wants no ack."""
        self.requestor.request(kind, hook, data)

    def notify_verb(self, data: dict[str, Any]) -> None:
        """Send verb:status if the application asked for it by ``notifyEvents`` (2.11)."""
        if self.notifies_events:
            self.notice("verb:status", data)

    def notify_playback(self, verb: Verb, event: str, **more: Any) -> None:
        """Send the other shape of verb:status: what happens inside of a verb (2.11)."""
        self.notify_verb({"event": event, **more, **_id_of(verb), "verb": verb["verb"]})

    def hook(
        self, hook: str, results: dict[str, Any], verb: Verb | None = None, kind: str = "verb:hook"
    ) -> Promise[Reply]:
        """Send a verb:hook, or another message that wants verbs, about this leg."""
        data = {**self.info.to_data(), **results, **_verb_id_of(verb or {})}
        return self.requestor.request(kind, hook, data, self.info.next_b3())

    def apply(self, reply: Reply) -> Applied:
        """Run the verbs of an ack; ``failed`` if there was no ack or its verbs are invalid."""
        match reply:
            case ReplyNone():
                return "nothing"
            case ReplyDead():
                return "failed"
            case ReplyAcked(data):
                if not isinstance(data, list) or not data:
                    return "nothing"
                verbs = self.read(data)
                if verbs is None:
                    return "failed"
                if not self.is_over:
                    self.replace(verbs)
                return "replaced"
            case _:
                assert_never(reply)

    def take_dial(self) -> Dial:
        """Give the fate of the next leg that the app dials."""
        dials = self.script.dials
        dial = dials[min(self._dials_taken, len(dials) - 1)]
        self._dials_taken += 1
        return dial

    def move_to(self, url: str, status_hook: str | None) -> None:
        """Go over to another application; its socket knows no call_sid (PROTOCOL.md 2.5).

        call:status stays on the old socket unless there is a status hook: an absolute one gets
        a socket of its own, any other goes with the new application.
        """
        left = self.requestor
        left.on_command = self._ignore_command
        left.is_left = True
        self.requestor = self._open_requestor(url)
        if status_hook is not None:
            is_absolute = is_absolute_ws(status_hook)
            if is_absolute and is_usable(status_hook):
                self.notifier = self._open_requestor(status_hook)
            elif not is_absolute:
                self.notifier = self.requestor
        left.is_needed = left is self.notifier

    def _ignore_command(self, connection: int, frame: CommandFrame) -> None:
        reason = "a redirect verb has moved the call to another socket"
        self.world.command(connection, frame, "ignored", reason)

    def read(self, data: Any) -> list[Verb] | None:
        """Validate verbs, ``None`` and an anomaly if jambonz refuses them."""
        try:
            return read_verbs(data)
        except InvalidVerbs as error:
            self.world.anomaly(self.requestor.connection or 0, "invalid_verbs", str(error))
            return None

    # What the caller does.

    def hear(self, heard: Heard) -> bool:
        """Take what the caller presses or says; false if nobody listens."""
        if self.ears.hear(heard):
            return True
        if self.barge_in is None or self._is_barging_in or heard.input not in self.barge_in.get("input", ["speech"]):
            return False
        self._is_barging_in = True
        self.world.kernel.spawn(self._barge_in(self.barge_in, heard))
        return True

    def _barge_in(self, settings: dict[str, Any], heard: Heard) -> Steps[None]:
        """Clear the stack up to a config that ends the barge-in, then tell the app (2.8).

        Only a sticky one listens again then (bg-task-manager.js, _initBargeIn).
        """
        verb = {**settings, "verb": "gather"}
        self.notify_playback(verb, heard.barge_in_event, **heard.barge_in_details)
        while self.stack and not _ends_barge_in(self.stack[0]):
            self.stack.pop(0)
        self.kill_current()
        self.interrupt_speech()
        yield from self._tell(verb, LastWords(heard.to_results))
        self._is_barging_in = False
        if self.barge_in is settings and not settings.get("sticky"):
            self.barge_in = None

    def interrupt_speech(self) -> None:
        """The caller barged in: streamed speech is dropped and the app told (PROTOCOL.md 4.4)."""
        if self.tts.interrupt():
            self.notice("tts:streaming-event", {"event_type": "user_interruption"})

    # The end.

    def end(self, by: str) -> None:
        """End the call: final status, last words of the running verb, close (PROTOCOL.md 6.9)."""
        if self.is_over:
            return
        self.is_over = True
        if self.is_answered:
            self.info.termination_by = by
            self.info.duration_s = int(self.world.kernel.now_s - self._answered_at_s)
            self.set_status("completed", 200, "OK")
        elif self.info.direction == "outbound":
            self.failure = (487, "Request Terminated")
        else:
            self.failure = (603, "Decline")
        self._stop()

    def fail(self, call_status: str, sip_status: int, sip_reason: str) -> None:
        """End an unanswered call, which must not be over, with a final failure."""
        assert not self.is_over
        self.is_over = True
        self.failure = (sip_status, sip_reason)
        self.set_status(call_status, sip_status, sip_reason)
        self._stop()

    def cancel(self) -> None:
        """End a call that was cancelled before there was a session (inbound-call-session.js, constructor)."""
        self.fail("no-answer", 487, "Request Terminated")
        self.set_status("trying", 100, "Trying")

    def _stop(self) -> None:
        self.stack = []
        self.tts.stop()
        self.kill_current()
        self._wake()
        if self.notifier.connection is None or self.requestor.connection is None:
            # Closed while a message still connects: the socket carries just that message and is
            # never closed (PROTOCOL.md 1.4).
            self._close()
        else:
            self.world.kernel.spawn(self._close_at_last())

    def _close_at_last(self) -> Steps[None]:
        """Close when the running verb is done: its last actionHook is acked or given up (call-session.js, exec)."""
        yield self.world.kernel.sleep(self.world.timing.end_delay_s)
        # A zombie's hook is never sent (PROTOCOL.md 2.6.3): nothing would end the waiting.
        if self._loop is not None and not self.requestor.is_zombie:
            yield self._loop.finished
        self._close()

    def _close(self) -> None:
        if self.requestor is not self.notifier:
            self.requestor.close()
        self.notifier.close()
        self.has_closed = True


def _id_of(verb: Verb) -> dict[str, Any]:
    return {"id": verb["id"]} if "id" in verb else {}


def _verb_id_of(verb: Verb) -> dict[str, Any]:
    return {"verb_id": verb["id"]} if "id" in verb else {}


def _ends_barge_in(verb: Verb) -> bool:
    barge_in = verb.get("bargeIn")
    return verb["verb"] == "config" and isinstance(barge_in, dict) and not barge_in.get("enable", True)

"""A simulated call whose sockets open at once and whose clock the test moves."""

from typing import Any

import orjson

from jambonz_simulator.core.call import Pace, SimulatedCall
from jambonz_simulator.core.effects import AbortSocket, CloseSocket, Effect, EndCall, Failure, OpenSocket, SendFrame
from jambonz_simulator.core.ids import CountingIds
from jambonz_simulator.core.records import CallResult
from jambonz_simulator.core.script import Script, Step

HELLO = [{"verb": "say", "text": "Hello"}]
GATHER = [{"verb": "gather", "input": ["digits"], "numDigits": 1, "actionHook": "/menu"}]
PAUSE = [{"verb": "pause", "length": 3600}]


class Stage:
    """Plays the server and the network for one call.

    Attributes:
        frames: What jambonz has sent, each with the number of its connection.
        failure: While set, sockets fail to open for this reason.
        opens_by_itself: While false, sockets neither open nor fail: the test does it.
    """

    def __init__(self, script: Script | None = None, url: str = "ws://app.test/ivr", **options: Any) -> None:
        self.now_s = 100.0
        self.call = SimulatedCall(
            url,
            script or Script(),
            CountingIds(),
            credentials=options.pop("credentials", None),
            pace=Pace(**options),
        )
        self.frames: list[tuple[int, dict[str, Any]]] = []
        self.opened: list[OpenSocket] = []
        self.closed: list[tuple[int, int]] = []
        self.aborted: list[int] = []
        self.failure: Failure | None = None
        self.opens_by_itself = True
        self.answers_close = True
        self.result: CallResult | None = None

    # The world.

    def start(self) -> "Stage":
        self.carry_out(self.call.start(self.now_s))
        return self

    def carry_out(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case OpenSocket(connection=connection):
                    self.opened.append(effect)
                    if self.opens_by_itself and self.failure is not None:
                        self.carry_out(self.call.socket_failed(connection, self.failure, self.now_s))
                    elif self.opens_by_itself:
                        self.carry_out(self.call.socket_opened(connection, self.now_s))
                case SendFrame(connection, payload):
                    self.frames.append((connection, orjson.loads(payload)))
                case CloseSocket(connection, code):
                    self.closed.append((connection, code))
                    if self.answers_close:
                        self.carry_out(self.call.socket_closed(connection, code, self.now_s))
                case AbortSocket(connection):
                    self.aborted.append(connection)
                case EndCall(result):
                    self.result = result

    def advance(self, seconds: float) -> "Stage":
        """Let time pass, timer by timer, as a shell does."""
        end_s = self.now_s + seconds
        while (wakes_at_s := self.call.wakes_at_s) is not None and wakes_at_s <= end_s:
            self.now_s = max(self.now_s, wakes_at_s)
            self.carry_out(self.call.tick(self.now_s))
        self.now_s = end_s
        self.carry_out(self.call.tick(end_s))
        return self

    def server_closes(self, code: int, connection: int | None = None) -> "Stage":
        self.carry_out(self.call.socket_closed(connection or self.connection, code, self.now_s))
        return self

    # The server.

    @property
    def connection(self) -> int:
        """The open connection of the call's application."""
        connection = self.call.session.requestor.connection
        assert connection is not None, "no open connection"
        return connection

    def receive(self, *frames: Any, connection: int | None = None) -> "Stage":
        """Let the server send messages that jambonz gets in one read."""
        payloads = [frame if isinstance(frame, (str, bytes)) else orjson.dumps(frame) for frame in frames]
        self.carry_out(self.call.frames_received(connection or self.connection, payloads, self.now_s))
        return self

    def ack(self, frame: dict[str, Any] | str, data: Any = None, connection: int | None = None) -> "Stage":
        msgid = frame if isinstance(frame, str) else frame["msgid"]
        ack = {"type": "ack", "msgid": msgid}
        return self.receive(ack if data is None else {**ack, "data": data}, connection=connection)

    def command(self, command: str, data: Any = None, connection: int | None = None, **members: Any) -> "Stage":
        frame = {"type": "command", "command": command, **members}
        return self.receive(frame if data is None else {**frame, "data": data}, connection=connection)

    # The caller.

    def press(self, digits: str) -> bool:
        was_heard, effects = self.call.press(digits, self.now_s)
        self.carry_out(effects)
        return was_heard

    def speak(self, text: str) -> bool:
        was_heard, effects = self.call.speak(text, 0.8, self.now_s)
        self.carry_out(effects)
        return was_heard

    def do(self, step: Step) -> "Stage":
        self.carry_out(self.call.do(step, self.now_s))
        return self

    def hang_up(self) -> "Stage":
        self.carry_out(self.call.hang_up(self.now_s))
        return self

    # What has happened.

    def sent(self, kind: str | None = None, hook: str | None = None) -> list[dict[str, Any]]:
        return [
            frame for _, frame in self.frames if kind in (None, frame["type"]) and hook in (None, frame.get("hook"))
        ]

    def last(self, kind: str | None = None, hook: str | None = None) -> dict[str, Any]:
        return self.sent(kind, hook)[-1]

    def kinds(self) -> list[str]:
        return [frame["type"] for _, frame in self.frames]

    def statuses(self) -> list[str]:
        return [frame["data"]["call_status"] for frame in self.sent("call:status")]

    def anomalies(self) -> list[str]:
        return [anomaly.kind for anomaly in self.call.world.ledger.anomalies]

    def verdicts(self) -> list[tuple[str, str]]:
        return [(record.command, record.verdict) for record in self.call.world.ledger.commands]

    def reason(self) -> str:
        """Why the last command was ignored."""
        return self.call.world.ledger.commands[-1].reason

    @property
    def verb(self) -> str | None:
        return self.call.session.current_name

    @property
    def outcome(self) -> str:
        assert self.result is not None, "the call is not over"
        return self.result.outcome.kind


def running(verbs: list[dict[str, Any]], script: Script | None = None, **options: Any) -> Stage:
    """Give a stage on which an inbound call runs these verbs."""
    stage = Stage(script, **options).start()
    stage.ack(stage.last("session:new"), verbs)
    return stage.advance(0.01)

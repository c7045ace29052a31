"""A call begins once, whatever Redis kept gateways from knowing of each other."""

from typing import Any

import orjson

from jambonz_shared.directive import Ack
from jambonz_shared.envelope import Envelope
from jambonz_shared.errors import ClusterError
from jambonz_workers import App, Call
from jambonz_workers.claimed_call import ClaimedCall
from jambonz_workers.effects import Commit
from jambonz_workers.event import Event
from jambonz_workers.handling import OnCommitted
from jambonz_workers.incoming import event_of
from jambonz_workers.metrics import WorkerMetrics
from jambonz_workers.runner import Runner
from jambonz_workers.testing import AppClient
from jambonz_workers.threads import Threads


def session_new(received_at_ms: int, epoch: int, kind: str = "session:new") -> Event:
    data = {"call_sid": "call-1", "direction": "inbound"}
    body = orjson.dumps({"type": kind, "msgid": f"m{epoch}", "call_sid": "call-1", "data": data})
    return event_of(Envelope("call-1", epoch, 1, "session:new", f"m{epoch}", received_at_ms, "g", False, body))


class Client(AppClient):
    """Remembers commits."""

    def __init__(self, app: App) -> None:
        super().__init__(app, call_sid="call-1")
        self.commits: list[Commit] = []

    def commit(self, call: Call, commit: Commit, on_committed: OnCommitted) -> None:
        self.commits.append(commit)
        on_committed(None)


def counting(starts: list[int]) -> App:
    app = App()

    @app.on("session:new")
    async def start(_: Call, event: Event) -> Any:
        starts.append(event.epoch)
        return [{"verb": "say", "text": "Hello"}]

    return app


async def both(first: Event, second: Event) -> tuple[list[int], list[Commit]]:
    starts: list[int] = []
    app = counting(starts)
    client = Client(app)
    runner = Runner(app, WorkerMetrics(), Threads(1))
    for event in (first, second):
        await runner.handle(client.call, event, _ignore)
    return starts, client.commits


async def test_session_new_older_than_the_beginning_is_not_handled_again() -> None:
    """Its gateway could not publish it before the reconnect behind it had begun the call anew."""
    starts, commits = await both(session_new(2000, 1), session_new(1500, 2))
    assert starts == [1]
    assert [(commit.series, commit.n) for commit in commits] == [(1, 1), (2, 1)], "both count as done"
    [ack] = commits[1].directives
    assert isinstance(ack, Ack)
    assert (ack.msgid, ack.may_redirect) == ("m2", False)
    assert orjson.loads(ack.data)[0]["verb"] == "pause", "an empty application would end an inbound call"


async def test_reconnect_that_stands_in_for_session_new_begins_a_call_that_has_not_begun() -> None:
    """Nobody else may know of the call: its first gateway has died."""
    starts, commits = await both(session_new(2000, 1, "session:reconnect"), session_new(1500, 2))
    assert starts == [1]
    assert [len(commit.directives) for commit in commits] == [1, 1]


async def test_reconnect_that_stands_in_for_session_new_does_not_begin_a_call_again() -> None:
    """The session:new had been on its way; its ack is what the gateway answers the reconnect with."""
    starts, commits = await both(session_new(2000, 1), session_new(3000, 2, "session:reconnect"))
    assert starts == [1]
    assert [(commit.series, commit.n, len(commit.directives)) for commit in commits] == [(1, 1, 1), (2, 1, 0)]


async def test_later_session_new_begins_again() -> None:
    """jambonz sends one mid-call when an HTTP application hands the call back (PROTOCOL.md 2.4)."""
    starts, _ = await both(session_new(2000, 1), session_new(9000, 2))
    assert starts == [1, 2]


async def test_beginning_is_known_to_the_next_owner() -> None:
    """It is kept with the facts."""
    _, commits = await both(session_new(2000, 1), session_new(9000, 2))
    facts = orjson.loads(commits[0].facts)
    starts: list[int] = []
    app = counting(starts)
    client = Client(app)
    call = Call("call-1", client, ClaimedCall(fence=2, app=app.name, path="/", facts=facts))
    await Runner(app, WorkerMetrics(), Threads(1)).handle(call, session_new(1500, 2), _ignore)
    assert starts == []


def _ignore(_: ClusterError | None) -> None:
    """Nobody waits."""

"""The newest answer is given again if a hook died with its websocket, and only then (ADR 0019)."""

import tracemalloc
from typing import Any

import orjson
import pytest

from jambonz_shared.directive import Ack
from jambonz_shared.envelope import Envelope
from jambonz_shared.errors import ClusterError
from jambonz_workers import App, Call, Event
from jambonz_workers.effects import Commit
from jambonz_workers.handling import OnCommitted
from jambonz_workers.incoming import event_of
from jambonz_workers.metrics import WorkerMetrics
from jambonz_workers.runner import Runner
from jambonz_workers.testing import AppClient
from jambonz_workers.threads import Threads
from jambonz_workers.unread import newest_answer

GATHERED: dict[str, Any] = {"reason": "dtmfDetected", "digits": "1"}
REPORT = {"msg": "invalid actionHook response", "details": "socket closed", "verb": "gather"}
NEXT = [{"verb": "say", "text": "Thank you"}]
app = App()


@app.on("session:new")
@app.hook("/menu")
async def menu(_: Call, __: Event) -> object:
    return NEXT


@app.hook("/silent")
async def silent(_: Call, __: Event) -> None:
    """Leave the next verb to the stack."""


@app.hook("/moved")
async def moved(call: Call, _: Event) -> None:
    call.redirect([{"verb": "hangup"}])


@app.hook("/talks")
async def talks(call: Call, _: Event) -> object:
    call.mute("mute")
    return NEXT


@app.hook("/once", late="drop")
async def once(_: Call, __: Event) -> object:
    return NEXT


@app.hook("/fails")
async def fails(_: Call, __: Event) -> object:
    raise ValueError("no")


class Line(AppClient):
    """A call whose events come over any websocket; notes the acks that go out."""

    def __init__(self) -> None:
        super().__init__(app)
        self.acks: list[Ack] = []
        self._runs = Runner(app, WorkerMetrics(), Threads(1))
        self._count = 0

    def commit(self, call: Call, commit: Commit, on_committed: OnCommitted) -> None:
        self.acks += [directive for directive in commit.directives if isinstance(directive, Ack)]
        on_committed(None)

    async def says(self, kind: str, data: dict[str, Any], epoch: int, hook: str = "") -> None:
        """Let jambonz send a message over its ``epoch``-th websocket."""
        self._count += 1
        msgid = f"{hook or kind}-{self._count}"
        body = orjson.dumps({"type": kind, "msgid": msgid, "call_sid": self.call.sid, "hook": hook, "data": data})
        envelope = Envelope(self.call.sid, epoch, self._count, kind, msgid, 0, "test", is_acked=False, body=body)
        await self._runs.handle(self.call, event_of(envelope), _ignore)


def _ignore(_: ClusterError | None) -> None:
    """Nobody waits."""


async def acks_after(*hooks: tuple[str, dict[str, Any]], report: dict[str, Any] = REPORT, epoch: int = 2) -> list[Ack]:
    """Return the acks of hooks on the first websocket, and of a report of jambonz."""
    line = Line()
    for hook, data in hooks:
        await line.says("verb:hook", data, 1, hook)
    await line.says("jambonz:error", report, epoch)
    return line.acks


async def test_an_answer_that_jambonz_has_not_read_is_given_again() -> None:
    """It is the same ack, so that the gateway knows whether it has given it as a redirect already."""
    first, again = await acks_after(("/menu", GATHERED))
    assert again == first
    assert orjson.loads(again.data) == NEXT


@pytest.mark.parametrize(
    ("report", "epoch"),
    [
        pytest.param(REPORT, 1, id="refused_on_its_own_socket"),
        pytest.param({**REPORT, "msg": "TTS error"}, 2, id="another_error"),
        pytest.param({**REPORT, "verb": "say"}, 2, id="another_verb"),
    ],
)
async def test_other_reports_repeat_nothing(report: dict[str, Any], epoch: int) -> None:
    """An answer that jambonz has read and refused would be refused again."""
    assert len(await acks_after(("/menu", GATHERED), report=report, epoch=epoch)) == 1


@pytest.mark.parametrize(
    "later",
    [
        pytest.param(("/once", GATHERED), id="an_answer_that_must_not_come_late"),
        pytest.param(("/moved", {}), id="redirect"),
        pytest.param(("/silent", GATHERED), id="an_answer_without_verbs"),
    ],
)
async def test_an_answer_that_was_replaced_is_not_repeated(later: tuple[str, dict[str, Any]]) -> None:
    """The caller would be set back, or hear twice what is to be heard once."""
    assert len(await acks_after(("/menu", GATHERED), later)) == 2


async def test_the_beginning_of_a_call_is_given_again_if_its_first_event_was_lost() -> None:
    """Then no worker has heard of the gather whose hook died; the caller is asked once more."""
    line = Line()
    await line.says("session:new", {"direction": "inbound"}, 1)
    await line.says("jambonz:error", REPORT, 2)
    first, again = line.acks
    assert again == first


@pytest.mark.parametrize("hook", ["/silent", "/fails", "/talks"])
async def test_what_changes_no_verbs_lets_an_answer_count(hook: str) -> None:
    """An event hook that is acked with nothing, and commands that jambonz does beside its verbs."""
    answers = [("/talks", GATHERED)] if hook == "/talks" else [("/menu", GATHERED), (hook, {"dtmf": "1"})]
    acks = await acks_after(*answers)
    assert acks[-1] == acks[0]


async def test_background_work_that_redirects_replaces_an_answer() -> None:
    """Commands from beside the events count, too."""
    line = Line()
    await line.says("verb:hook", GATHERED, 1, "/menu")
    await line.call.redirect([{"verb": "hangup"}])
    await line.says("jambonz:error", REPORT, 2)
    assert len(line.acks) == 1


async def test_the_applications_own_handler_sees_the_report_as_well() -> None:
    """What it sends comes behind the answer."""
    line = Line()
    seen: list[str] = []

    async def on_error(_: Call, event: Event) -> None:
        seen.append(event.kind)

    app.on("jambonz:error")(on_error)
    await line.says("verb:hook", GATHERED, 1, "/menu")
    await line.says("jambonz:error", REPORT, 2)
    assert seen == ["jambonz:error"]
    assert len(line.acks) == 2


def test_an_answer_that_is_kept_takes_no_more_than_its_bytes() -> None:
    """A worker keeps one for each of its calls."""
    event = Event("verb:hook", "call-1", GATHERED, "/menu", "m1", is_hook=True)
    tracemalloc.start()
    try:
        kept = [newest_answer(None, event, [Ack("1", 1, "m1", orjson.dumps(NEXT))]) for _ in range(100)]
        size_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size_bytes / len(kept) < 500


@pytest.mark.parametrize("reason", [["timeout"], {"a": 1}, None, 1])
async def test_a_reason_that_is_no_text_is_none(reason: object) -> None:
    """P9: whoever has the credentials may send it; it was an error of our own, with an alert, for each message."""
    async with AppClient(app) as client:
        assert (await client.hook("/silent", reason=reason)).verbs == []

"""Recordings of the real jambonz client, replayed: every frame passes unchanged, every answer is the recorded one."""

import asyncio
from collections.abc import Iterator
from typing import Final

import pytest

from jambonz_gateway.effects import Attach, Effect, Publish
from jambonz_gateway.session import Session
from jambonz_shared import kinds, wire
from jambonz_shared.envelope import Envelope
from jambonz_shared.redis.scripts import Attached
from jambonz_simulator.recording import RecordedFrame, Recording, load_recording
from jambonz_simulator.replay import ReplayResult, replay
from tests.cluster_fixture import ClusterFactory
from tests.recordings import TRANSCRIPTS

RECORDINGS: Final = sorted(TRANSCRIPTS.glob("*.jsonl"))

RECORDED_OTHERWISE: Final = {
    # The reference server answered /count of the A leg from the state of the B leg, because the last session:redirect
    # on that socket was B's. The application's description takes the call from data.call_sid, and A has had its
    # session:new (CONFORMANCE_APP.md, "Words used below").
    "call-adulting": {"line 26, connection 1, ack nbSwuq3JHthPrUL8R2kHzw: data[0].data.starts: expected 0, got 1"},
    # It streamed its first token before it replied; described is "reply []; then stream".
    "call-tts-stream": {"line 10, connection 1, command tts:tokens: out of order"},
    # The same; and it flushed after the final status, when nothing but acks may be sent (PROTOCOL.md section 12).
    "call-tts-backpressure": {
        "line 9, connection 1, command tts:tokens: out of order",
        "line 96, connection 1, command tts:flush: missing",
    },
}


def recordings() -> Iterator[Recording]:
    assert RECORDINGS, f"no recordings in {TRANSCRIPTS}"
    return (load_recording(path) for path in RECORDINGS)


def jambonz_messages(recording: Recording) -> list[RecordedFrame]:
    return [line for line in recording.frames if line.is_from_jambonz and line.is_message]


def test_every_recorded_message_has_a_head_and_a_known_kind() -> None:
    """The gateway routes by the head alone; a kind it does not know would be a Notice without an ack."""
    for recording in recordings():
        for line in jambonz_messages(recording):
            head = wire.read_head(line.payload)
            assert head.kind == line.frame["type"]
            assert head.msgid == line.frame["msgid"]
            assert head.top_call_sid == line.frame.get("call_sid", "")
            assert head.data_call_sid == line.frame["data"].get("call_sid", "")
            assert head.kind in kinds.KINDS


def test_every_recorded_message_reaches_the_stream_byte_by_byte() -> None:
    """Applications see what jambonz wrote, whatever it may add in a later version."""
    for recording in recordings():
        sessions: dict[int, Session] = {}
        published: list[bytes] = []

        def carry_out(session: Session, effects: list[Effect], published: list[bytes] = published) -> None:
            for effect in effects:
                match effect:
                    case Attach(call_sid):
                        attachment = Attached(epoch=1, owner="w1", fence=1, live_epochs=(1,))
                        carry_out(session, session.attached(call_sid, attachment))
                    case Publish(_, envelope):
                        published.append(Envelope.decode(envelope.encode()).body)
                    case _:
                        pass

        messages = jambonz_messages(recording)
        for line in messages:
            session = sessions.setdefault(line.connection, Session("g1", now_s=0.0))
            carry_out(session, session.receive(line.payload, 0.0, 0))
        assert published == [line.payload for line in messages], recording.name


async def played(url: str, recording: Recording) -> ReplayResult:
    """Replay a recording; a frame that is known to be missing is not waited for as long as the others."""
    is_known = any(line.endswith(": missing") for line in RECORDED_OTHERWISE.get(recording.name, ()))
    return await replay(url, recording, limit_s=1.5 if is_known else 5.0)


@pytest.mark.both_redis(others_are_long=True)
async def test_conformance_application_answers_as_recorded(cluster: ClusterFactory) -> None:
    """The application of CONFORMANCE_APP.md behind two gateways and two workers does what a single server did."""
    running = await cluster("examples.conformance:app", gateways=2, workers=2)
    recorded = list(recordings())
    urls = [f"{running.gateways[number % 2].url}/conformance" for number in range(len(recorded))]
    results = await asyncio.gather(*map(played, urls, recorded))
    found = {
        recording.name: set(result.differences()) - RECORDED_OTHERWISE.get(recording.name, set())
        for recording, result in zip(recorded, results, strict=True)
    }
    assert {name: lines for name, lines in found.items() if lines} == {}

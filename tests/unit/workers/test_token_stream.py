"""The flow control of streamed text, against PROTOCOL.md 4.5 and a model of jambonz's buffer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jambonz_workers.token_stream import (
    PIECE_CHARS,
    PROBES_S,
    RECONNECT_S,
    RESULT_S,
    STRAY_S,
    Clear,
    Dropped,
    Effect,
    Flush,
    Offer,
    Taken,
    TokenStream,
    Why,
    Writing,
    pieces_of,
)


def open_stream() -> TokenStream:
    stream = TokenStream()
    assert stream.event("stream_open", 0.0) == []
    return stream


def test_one_token_is_under_way_at_a_time() -> None:
    """With more in flight results may come out of order (PROTOCOL.md 4.5)."""
    stream = open_stream()
    first, effects = stream.write("Hello ", 0.0)
    assert effects == [Offer(1, "Hello ")]
    second, effects = stream.write("world", 0.0)
    assert effects == []
    assert stream.result(1, "ok", "", 0.1) == [Taken(first), Offer(2, "world")]
    assert stream.result(2, "ok", "", 0.2) == [Taken(second)]
    assert stream.due_s is None


def test_a_result_nobody_waits_for_changes_nothing() -> None:
    """Late ones come after an interruption, foreign ones from tokens sent by hand."""
    stream = open_stream()
    assert stream.result(1, "ok", "", 0.0) == []
    stream.write("Hello", 0.0)
    assert stream.result(7, "ok", "", 0.0) == []
    assert stream.due_s == RESULT_S


def test_full_keeps_the_text_and_probes_ever_more_slowly() -> None:
    """Pitfall 22: jambonz does not always say that it has room again."""
    stream = open_stream()
    writing, _ = stream.write("Hello", 0.0)
    assert stream.event("stream_paused", 0.0) == []
    now_s = 0.0
    for delay_s in (*PROBES_S, PROBES_S[-1]):
        assert stream.result(1, "failed", "full", now_s) == []
        assert stream.due_s == now_s + delay_s
        assert stream.tick(now_s + delay_s / 2) == []
        now_s += delay_s
        assert stream.tick(now_s) == [Offer(1, "Hello")]
    assert stream.result(1, "ok", "", now_s) == [Taken(writing)]
    assert not stream.is_paused


def test_resumed_sends_the_head_again() -> None:
    """Without waiting for the probe."""
    stream = open_stream()
    stream.write("Hello", 0.0)
    stream.result(1, "failed", "full", 0.0)
    assert stream.event("stream_resumed", 0.1) == [Offer(1, "Hello")]


def test_resumed_before_the_result_it_answers_is_not_forgotten() -> None:
    """Events and results may cross."""
    stream = open_stream()
    stream.write("Hello", 0.0)
    assert stream.event("stream_resumed", 0.1) == []
    assert stream.result(1, "failed", "full", 0.2) == [Offer(1, "Hello")]
    stream.result(1, "failed", "full", 0.3)
    assert stream.is_paused


def test_a_pause_while_nothing_waits_is_probed_with_the_next_text() -> None:
    """It was told because of a token that was withdrawn."""
    stream = open_stream()
    stream.event("stream_paused", 0.0)
    assert stream.due_s is None
    assert stream.write("Hello", 1.0)[1] == []
    assert stream.tick(1.0 + PROBES_S[0]) == [Offer(1, "Hello")]


def test_a_pause_while_the_next_waits_starts_the_probe() -> None:
    """The token before was withdrawn after its refusal."""
    stream = open_stream()
    withdrawn, _ = stream.write("Hello", 0.0)
    stream.write("world", 0.0)
    stream.result(1, "failed", "full", 0.0)
    assert stream.withdraw(withdrawn, 0.5) == []
    stream.event("stream_paused", 0.5)
    assert stream.tick(0.5 + PROBES_S[1]) == [Offer(2, "world")]


def test_a_withdrawn_token_under_way_is_waited_for() -> None:
    """It cannot be called back, and there is one at a time."""
    stream = open_stream()
    first, _ = stream.write("Hello", 0.0)
    _, effects = stream.write("world", 0.0)
    assert stream.withdraw(first, 0.0) == effects == []
    assert stream.withdraw(first, 0.0) == []
    assert stream.result(1, "ok", "", 0.1) == [Offer(2, "world")]


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("", "no stream is switched on: config with ttsStream, or say with stream, does it"),
        ("connection to x failed",) * 2,
    ],
)
def test_a_refusal_fails_all_that_waits(reason: str, said: str) -> None:
    """A result without a status means that there is no stream (PROTOCOL.md 4.2)."""
    stream = open_stream()
    first, _ = stream.write("Hello ", 0.0)
    second, _ = stream.write("world", 0.0)
    dropped = [Dropped(first, Why.REFUSED, said), Dropped(second, Why.REFUSED, said)]
    assert stream.result(1, None, reason, 0.1) == dropped
    assert [it.writing.unspoken for it in dropped] == ["Hello ", "world"]


def test_silence_fails_and_is_not_answered_by_sending_again() -> None:
    """The text would be spoken twice."""
    stream = open_stream()
    writing, _ = stream.write("Hello", 0.0)
    assert stream.tick(RESULT_S) == [Dropped(writing, Why.SILENCE)]
    assert stream.tick(RESULT_S) == []


def test_a_lost_websocket_is_waited_for() -> None:
    """Results are queued in jambonz meanwhile and come after the reconnect (PROTOCOL.md 4.5)."""
    stream = open_stream()
    first, _ = stream.write("Hello ", 0.0)
    stream.detached()
    assert stream.tick(8.0) == []
    second, effects = stream.write("world", 9.0)
    assert effects == []
    assert stream.reconnected(20.0) == []
    assert stream.due_s == 20.0 + RECONNECT_S
    assert stream.result(1, "ok", "", 20.5) == [Taken(first), Offer(2, "world")]
    assert stream.tick(20.5 + RESULT_S) == [Dropped(second, Why.SILENCE)]


def test_text_written_without_a_websocket_goes_out_after_the_reconnect() -> None:
    """And so does what jambonz had no room for."""
    stream = open_stream()
    stream.detached()
    assert stream.write("Hello", 0.0)[1] == []
    assert stream.reconnected(1.0) == [Offer(1, "Hello")]
    stream.result(1, "failed", "full", 1.0)
    stream.detached()
    assert stream.reconnected(2.0) == [Offer(1, "Hello")]


def test_an_interruption_drops_everything_and_forgets_the_pause() -> None:
    """jambonz has cleared its own buffer, so no clear is sent."""
    stream = open_stream()
    writing, _ = stream.write("x" * 600, 0.0)
    stream.result(1, "ok", "", 0.0)
    stream.result(2, "failed", "full", 0.0)
    assert stream.event("user_interruption", 0.1) == [Dropped(writing, Why.INTERRUPTED)]
    assert writing.unspoken == "x" * 100
    assert stream.write("Sorry", 0.2)[1] == [Offer(3, "Sorry")]


def test_a_token_that_crossed_an_interruption_is_not_spoken() -> None:
    """jambonz took it after it had cleared its buffer; new text waits until it is gone again."""
    stream = open_stream()
    writing, _ = stream.write("Hello", 0.0)
    assert stream.event("user_interruption", 0.1) == [Dropped(writing, Why.INTERRUPTED)]
    sorry, effects = stream.write("Sorry", 0.1)
    assert effects == []
    assert stream.result(1, "ok", "", 0.2) == [Clear(), Offer(2, "Sorry")]
    assert stream.result(2, "ok", "", 0.3) == [Taken(sorry)]


def test_a_token_refused_after_an_interruption_needs_no_clear() -> None:
    """There is nothing of it."""
    stream = open_stream()
    stream.write("Hello", 0.0)
    stream.event("user_interruption", 0.1)
    assert stream.result(1, "failed", "full", 0.2) == []
    assert stream.write("Sorry", 0.3)[1] == [Offer(2, "Sorry")]


def test_new_text_does_not_wait_for_ever_for_a_token_that_crossed() -> None:
    """Its result may be lost, or the websocket with it."""
    stream = open_stream()
    stream.write("Hello", 0.0)
    stream.event("user_interruption", 0.1)
    stream.write("Sorry", 0.1)
    assert stream.tick(0.1 + STRAY_S) == [Offer(2, "Sorry")]
    stream.event("user_interruption", 1.0)
    stream.detached()
    stream.write("Sorry", 1.0)
    assert stream.reconnected(2.0) == [Offer(3, "Sorry")]


def test_clear_drops_here_and_there() -> None:
    """What was under way may arrive after it; its result is ignored."""
    stream = open_stream()
    writing, _ = stream.write("Hello", 0.0)
    assert stream.clear() == [Dropped(writing, Why.CLEARED), Clear()]
    assert stream.result(1, "ok", "", 0.1) == []


def test_a_closed_stream_drops_what_waits() -> None:
    """It does not come at the end of a call (pitfall 25)."""
    stream = open_stream()
    writing, _ = stream.write("Hello", 0.0)
    assert stream.event("stream_closed", 0.0) == [Dropped(writing, Why.CLOSED)]


@pytest.mark.parametrize(
    ("text", "nudge"),
    [
        ("Hello", True),
        ("Hello. ", False),
        ("At 3. ", True),
        ("Hello.\n\n", False),
        ("\u3053\u3002", False),
        ("", False),
    ],
)
def test_a_flush_is_nudged_when_something_is_held_back(text: str, nudge: bool) -> None:
    """Pitfall 24: otherwise it is one or two seconds late."""
    stream = open_stream()
    if text:
        stream.write(text, 0.0)
        stream.result(1, "ok", "", 0.0)
    assert stream.flush(0.0) == [Flush(nudge)]
    assert stream.flush(0.0) == [Flush(nudge=False)]


def test_a_flush_waits_for_the_text_before_it() -> None:
    """Also while jambonz has no room."""
    stream = open_stream()
    writing, _ = stream.write("Hello. ", 0.0)
    assert stream.flush(0.0) == []
    stream.result(1, "failed", "full", 0.0)
    assert stream.event("stream_resumed", 0.0) == [Offer(1, "Hello. ")]
    assert stream.result(1, "ok", "", 0.0) == [Taken(writing), Flush(nudge=False)]


def test_a_flush_behind_withdrawn_text_goes_out_at_the_probe() -> None:
    """There is no text left to ask with."""
    stream = open_stream()
    writing, _ = stream.write("Hello", 0.0)
    stream.result(1, "failed", "full", 0.0)
    stream.flush(0.0)
    stream.withdraw(writing, 0.0)
    assert stream.tick(PROBES_S[0]) == [Flush(nudge=False)]


def test_a_flush_before_the_stream_is_open_is_repeated() -> None:
    """jambonz drops it (PROTOCOL.md 4.3)."""
    stream = TokenStream()
    stream.write("Hello", 0.0)
    stream.result(1, "ok", "", 0.0)
    assert stream.flush(0.0) == [Flush(nudge=True)]
    assert stream.event("stream_open", 0.1) == [Flush(nudge=True)]
    assert stream.event("stream_open", 0.2) == []


def test_events_of_later_versions_are_let_pass() -> None:
    """As ``tts_spoken`` of the commercial line."""
    assert open_stream().event("tts_spoken", 0.0) == []


def test_a_bar_is_left_out() -> None:
    """The media server cuts there; a text of nothing else is taken at once."""
    assert list(pieces_of("a|b")) == ["ab"]
    writing, effects = open_stream().write("|", 0.0)
    assert effects == [Taken(writing)]


@given(st.text(alphabet="ab \U0001f600", max_size=1500))
def test_pieces_fit_and_lose_nothing(text: str) -> None:
    """jambonz counts UTF-16 units."""
    pieces = list(pieces_of(text))
    assert "".join(pieces) == text
    assert all(0 < len(piece.encode("utf-16-le")) // 2 <= PIECE_CHARS for piece in pieces)


class Jambonz:
    """A buffer of 1,000 characters that answers, drains and resumes when told; keeps what it took."""

    def __init__(self, stream: TokenStream) -> None:
        self.stream = stream
        self.now_s = 0.0
        self.buffered = 0
        self.under_way: Offer | None = None
        self.taken: list[str] = []
        self.done: list[Writing] = []

    def follow(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Offer):
                assert self.under_way is None
                self.under_way = effect
            else:
                assert isinstance(effect, Taken)
                self.done.append(effect.writing)

    def answer(self) -> None:
        if self.under_way is None:
            return
        offer, self.under_way = self.under_way, None
        if self.buffered + len(offer.text) > 1000:
            self.follow(self.stream.result(offer.token_id, "failed", "full", self.now_s))
            return
        self.buffered += len(offer.text)
        self.taken.append(offer.text)
        self.follow(self.stream.result(offer.token_id, "ok", "", self.now_s))

    def step(self, name: str) -> None:
        self.now_s += 0.1
        match name:
            case "answer":
                self.answer()
            case "drain":
                self.buffered = 0
            case "resume":
                self.follow(self.stream.event("stream_resumed", self.now_s))
            case "lost" if self.under_way is None:
                self.stream.detached()
                self.follow(self.stream.reconnected(self.now_s))
            case "tick" if self.under_way is None and self.stream.due_s is not None:
                self.now_s = max(self.now_s, self.stream.due_s)
                self.follow(self.stream.tick(self.now_s))


@given(
    st.lists(st.integers(1, 900), min_size=1, max_size=30),
    st.lists(st.sampled_from(["answer", "drain", "resume", "tick", "lost"]), max_size=120),
)
def test_every_text_is_taken_once_and_in_order(sizes: list[int], steps: list[str]) -> None:
    """Whatever jambonz's buffer does, and however events and results cross."""
    jambonz = Jambonz(open_stream())
    texts = [f"{number}:" + "x" * size for number, size in enumerate(sizes)]
    writings: list[Writing] = []
    for text in texts:
        writing, effects = jambonz.stream.write(text, jambonz.now_s)
        writings.append(writing)
        jambonz.follow(effects)
    for step in [*steps, *["answer", "drain", "tick"] * (4 * len(sizes) + 8)]:
        jambonz.step(step)
    assert "".join(jambonz.taken) == "".join(texts)
    assert jambonz.done == writings

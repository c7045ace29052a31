"""dial, confirm sessions, adulting, queues and conferences (PROTOCOL.md 2.7-2.9, 6.2-6.7)."""

from typing import Any

import pytest

from jambonz_simulator.core.script import Dial, Script
from tests.unit.simulator.stage import GATHER, HELLO, PAUSE, Stage, running

DIAL: dict[str, Any] = {
    "verb": "dial",
    "target": [{"type": "sip", "sipUri": "sip:bob@b.test"}],
    "actionHook": "/done",
}


def dialled(dial: Dial | None = None, **members: Any) -> Stage:
    return running([{**DIAL, **members}, *PAUSE], Script(dials=(dial or Dial(),))).advance(1)


def test_leg_statuses_go_to_the_parents_socket_with_the_parents_top_level_call_sid() -> None:
    """Section 2.10."""
    stage = dialled()
    parent = stage.call.info.call_sid
    legs = [frame for frame in stage.sent("call:status") if frame["data"]["call_sid"] != parent]
    assert [leg["data"]["call_status"] for leg in legs] == ["trying", "ringing", "in-progress"]
    assert {leg["call_sid"] for leg in legs} == {parent}
    assert {leg["data"]["parent_call_sid"] for leg in legs} == {parent}
    assert {leg["data"]["direction"] for leg in legs} == {"outbound"}
    assert all("b3" not in leg for leg in legs)
    assert legs[0]["data"]["to"] == "sip:bob@b.test"


def test_dial_ends_when_the_callee_leaves_and_tells_its_hook() -> None:
    """Section 6.2."""
    stage = dialled().advance(5)
    assert stage.last("call:status")["data"]["call_status"] == "completed"
    done = stage.last("verb:hook", "/done")["data"]
    assert (done["dial_call_status"], done["dial_sip_status"]) == ("completed", 200)
    assert stage.ack(stage.last("verb:hook"), []).verb == "pause"


@pytest.mark.parametrize(
    ("end", "code"), [("busy", 486), ("no-answer", 487), ("failed", 503)], ids=["busy", "no_answer", "failed"]
)
def test_leg_that_is_not_answered(end: Any, code: int) -> None:
    done = dialled(Dial(end=end)).last("verb:hook", "/done")["data"]
    assert (done["dial_call_status"], done["dial_sip_status"]) == (end, code)


def test_leg_that_rings_too_long_has_no_answer() -> None:
    done = dialled(Dial(ring_s=60), timeout=0.5).last("verb:hook", "/done")["data"]
    assert done["dial_call_status"] == "no-answer"


def test_time_limit_ends_the_talk() -> None:
    stage = dialled(Dial(talk_s=None), timeLimit=3).advance(2.9)
    assert stage.verb == "dial"
    assert stage.advance(0.2).sent("verb:hook", "/done") != []


def test_talk_without_a_limit_lasts_until_the_caller_leaves() -> None:
    """The leg is completed too; the hook comes after the final status."""
    stage = dialled(Dial(talk_s=None)).advance(3600).hang_up()
    assert stage.statuses()[-2:] == ["completed", "completed"]
    assert stage.last()["hook"] == "/done"


def test_second_dial_takes_the_second_fate_and_the_last_one_repeats() -> None:
    script = Script(dials=(Dial(end="busy"), Dial(end="failed")))
    stage = running([DIAL, DIAL, DIAL], script)
    fates = []
    for _ in range(3):
        stage.advance(1.1)
        fates.append(stage.last("verb:hook")["data"]["dial_call_status"])
        stage.ack(stage.last("verb:hook"), [])
    assert fates == ["busy", "failed", "failed"]


@pytest.mark.parametrize(
    ("target", "to"),
    [
        ([{"type": "phone", "number": "+1"}], "+1"),
        ({"type": "user", "name": "ada"}, "ada"),
        ([], "unknown"),
        ([{}], "unknown"),
        (["bob"], "unknown"),
    ],
    ids=["phone", "user", "nobody", "empty", "text"],
)
def test_target_is_told(target: Any, to: str) -> None:
    assert dialled(target=target).sent("call:status")[-1]["data"]["to"] == to


TWO = [{"type": "user", "name": "ada"}, {"type": "user", "name": "bob"}]


def ringing(*dials: Dial, **members: Any) -> Stage:
    return running([{**DIAL, "target": TWO, **members}, *PAUSE], Script(dials=dials))


def of_legs(stage: Stage) -> list[tuple[str, str]]:
    """Whom the statuses of the legs are about, and what they say."""
    frames = [frame["data"] for frame in stage.sent("call:status") if "parent_call_sid" in frame["data"]]
    return [(data["to"], data["call_status"]) for data in frames]


def test_all_targets_ring_at_once_and_the_first_who_answers_is_bridged() -> None:
    """tasks/dial.js, _attemptCalls, _connectSingleDial."""
    stage = ringing(Dial(ring_s=9), Dial(ring_s=2, talk_s=3))
    assert of_legs(stage) == [("ada", "trying"), ("bob", "trying"), ("ada", "ringing"), ("bob", "ringing")]
    stage.advance(2)
    assert of_legs(stage)[4:] == [("bob", "in-progress"), ("ada", "no-answer")]
    stage.advance(3)
    assert of_legs(stage)[6:] == [("bob", "completed")]
    done = stage.last("verb:hook", "/done")["data"]
    assert (done["dial_call_status"], done["dial_call_sid"]) == (
        "completed",
        stage.last("call:status")["data"]["call_sid"],
    )
    assert stage.ack(stage.last("verb:hook"), []).advance(60).verb == "pause"
    assert len(of_legs(stage)) == 7


def test_dial_ends_when_nobody_is_left_who_rings() -> None:
    stage = ringing(Dial("busy", ring_s=1), Dial("failed", ring_s=2)).advance(1.5)
    assert stage.sent("verb:hook") == []
    assert stage.advance(1).last("verb:hook", "/done")["data"]["dial_call_status"] == "failed"


def test_callee_who_answers_after_another_did_not_is_connected() -> None:
    """tasks/dial.js, _selectSingleDial: a no-answer is the last word about legs, but not about the dial."""
    stage = ringing(Dial("no-answer", ring_s=1), Dial(ring_s=2, talk_s=1)).advance(4)
    assert stage.last("verb:hook", "/done")["data"]["dial_call_status"] == "completed"
    failed = ringing(Dial("no-answer", ring_s=1), Dial("busy", ring_s=2)).advance(4)
    assert failed.last("verb:hook", "/done")["data"]["dial_call_status"] == "no-answer"


def test_ringing_of_all_ends_at_the_timeout() -> None:
    stage = ringing(Dial(ring_s=60), timeout=3).advance(4)
    assert of_legs(stage)[4:] == [("ada", "no-answer"), ("bob", "no-answer")]


def test_first_callee_who_is_accepted_wins_and_the_other_is_hung_up() -> None:
    """tasks/dial.js: both are asked about while nobody is connected."""
    stage = ringing(Dial(talk_s=None), confirmHook="/screen").advance(1)
    first, second = stage.sent("dial:confirm")
    assert (first["data"]["to"], second["data"]["to"]) == ("ada", "bob")
    stage.ack(second, [])
    assert of_legs(stage)[-1] == ("ada", "completed")
    stage.ack(first, []).advance(60)
    assert (stage.verb, stage.sent("verb:hook"), stage.call.session.child is None) == ("dial", [], False)


def test_declined_callee_leaves_the_others_ringing() -> None:
    stage = ringing(Dial(ring_s=1), Dial(ring_s=5, talk_s=None), confirmHook="/screen").advance(1)
    stage.ack(stage.last("dial:confirm"), [{"verb": "hangup"}]).advance(4)
    assert stage.ack(stage.last("dial:confirm"), []).verb == "dial"
    assert of_legs(stage)[-1] == ("bob", "in-progress")


def test_caller_who_leaves_while_the_app_is_asked_takes_the_callee_along() -> None:
    stage = ringing(Dial(), Dial(ring_s=9), confirmHook="/screen").advance(1).hang_up()
    assert of_legs(stage)[-1] == ("ada", "completed")
    assert stage.last("verb:hook", "/done")["data"]["dial_call_status"] == "completed"


def test_nobody_is_called_twice_and_at_most_ten_at_once() -> None:
    """tasks/dial.js, filterAndLimit."""
    names = ["ada", "ada", *(f"u{n}" for n in range(12))]
    stage = ringing(Dial(), target=[{"type": "user", "name": name} for name in names])
    assert [to for to, status in of_legs(stage) if status == "trying"] == ["ada", *(f"u{n}" for n in range(9))]


@pytest.mark.parametrize("data", [None, []], ids=["missing", "empty"])
def test_empty_confirm_means_accept(data: Any) -> None:
    """Section 2.9."""
    stage = dialled(confirmHook="/screen")
    confirm = stage.last("dial:confirm")
    assert (confirm["hook"], confirm["data"]["parent_call_sid"]) == ("/screen", stage.call.info.call_sid)
    assert confirm["call_sid"] == stage.call.info.call_sid
    assert "b3" not in confirm
    stage.ack(confirm, data).advance(4.9)
    assert stage.sent("verb:hook") == []
    assert stage.advance(0.2).last("verb:hook")["hook"] == "/done"


@pytest.mark.parametrize(
    "verbs",
    [
        pytest.param(None, id="late"),
        pytest.param([{"verb": "nonsense"}], id="invalid"),
        pytest.param([{"verb": "say", "text": "x"}, {"verb": "hangup"}], id="hangup"),
        pytest.param([{"verb": "dial", "target": []}], id="not_allowed"),
    ],
)
def test_confirm_that_fails_declines_the_callee(verbs: Any) -> None:
    """Section 2.9, pitfall 41. Nobody was connected, so nothing is ``completed``."""
    stage = dialled(confirmHook="/screen")
    if verbs is not None:
        stage.ack(stage.last("dial:confirm"), verbs)
    stage.advance(5)
    assert stage.last("call:status")["data"]["call_status"] == "in-progress"
    done = stage.last("verb:hook")
    assert (done["hook"], done["data"]["dial_call_status"]) == ("/done", "in-progress")


def test_confirm_verbs_run_on_the_callee_whose_hooks_come_on_the_parents_socket() -> None:
    """Sections 2.9 and 6.2."""
    stage = dialled(confirmHook="/screen")
    verbs = [
        {"verb": "tag", "data": {}},
        {"verb": "play", "url": "x"},
        {"verb": "gather", "actionHook": "/pressed", "say": {"text": "press one"}},
    ]
    stage.ack(stage.last("dial:confirm"), verbs).advance(3.5)
    pressed = stage.last("verb:hook", "/pressed")
    assert (pressed["data"]["digits"], pressed["data"]["call_sid"]) == (
        "1",
        stage.last("dial:confirm")["data"]["call_sid"],
    )
    stage.ack(pressed, [{"verb": "hangup"}]).advance(0.1)
    assert stage.last("verb:hook")["hook"] == "/done"


def test_confirm_gather_with_an_empty_ack_accepts() -> None:
    stage = dialled(Dial(digits="", talk_s=None), confirmHook="/screen")
    stage.ack(stage.last("dial:confirm"), [{"verb": "gather", "actionHook": "/pressed"}]).advance(0.5)
    pressed = stage.last("verb:hook", "/pressed")
    assert pressed["data"]["reason"] == "timeout"
    stage.ack(pressed, []).advance(60)
    assert stage.verb == "dial"
    assert stage.sent("verb:hook", "/done") == []


def test_confirm_gather_without_a_hook_accepts() -> None:
    stage = dialled(Dial(talk_s=None), confirmHook="/screen")
    stage.ack(stage.last("dial:confirm"), [{"verb": "gather"}]).advance(60)
    assert stage.verb == "dial"


@pytest.mark.parametrize("capture", [["1"], {"parentCall": ["1"], "childCall": "x"}], ids=["list", "sides"])
def test_captured_digits_go_to_the_dtmf_hook(capture: Any) -> None:
    """Section 2.8: the ack is ignored."""
    stage = dialled(dtmfHook="/dtmf", dtmfCapture=capture)
    assert stage.press("1")
    assert stage.press("2")
    assert [frame["data"]["dtmf"] for frame in stage.sent("verb:hook", "/dtmf")] == ["1"]
    assert stage.ack(stage.last("verb:hook"), HELLO).verb == "dial"


def test_verbs_of_a_replaced_dial_are_ignored() -> None:
    """Section 2.8."""
    stage = dialled(Dial(talk_s=None)).command("redirect", GATHER)
    assert stage.last("verb:hook", "/done")["data"]["dial_call_status"] == "completed"
    assert stage.verb == "dial"
    assert stage.ack(stage.last("verb:hook"), HELLO).verb == "gather"


def test_verbs_of_a_dial_that_ended_before_it_was_replaced_replace_again() -> None:
    """Section 3.3; tasks/dial.js asks whether it was replaced before it sends its hook."""
    stage = dialled().advance(5).command("redirect", GATHER)
    assert stage.ack(stage.last("verb:hook", "/done"), HELLO).verb == "say"


def test_verbs_of_a_replaced_queue_are_ignored() -> None:
    """Section 2.8."""
    stage = running([ENQUEUE]).command("redirect", GATHER)
    assert stage.last("verb:hook", "/left")["data"]["queue_result"] == "hangup"
    assert stage.ack(stage.last("verb:hook", "/left"), HELLO).verb == "gather"


def test_verbs_of_a_conference_that_was_replaced_replace_again() -> None:
    """tasks/conference.js, exec."""
    stage = running([CONFERENCE]).command("redirect", GATHER)
    assert stage.ack(stage.last("verb:hook", "/done"), HELLO).verb == "say"


def test_socket_stays_open_until_the_last_action_hook_is_acked() -> None:
    """call-session.js, exec: it closes when the running verb is done, and a dial is done when its hook is."""
    stage = dialled(Dial(talk_s=None)).hang_up().advance(1)
    assert (stage.statuses()[-1], stage.closed) == ("completed", [])
    stage.ack(stage.last("verb:hook", "/done"), HELLO)
    assert (stage.closed, stage.outcome, stage.anomalies()) == ([(1, 1000)], "completed", [])


def test_last_action_hook_that_is_not_acked_is_a_missed_deadline() -> None:
    stage = dialled(Dial(talk_s=None)).hang_up().advance(4.9)
    assert stage.closed == []
    assert stage.advance(0.2).closed == [(1, 1000)]
    assert (stage.outcome, stage.anomalies()) == ("completed", ["deadline_missed"])


def test_child_call_hook_gives_the_leg_a_socket_and_session_of_its_own() -> None:
    """Sections 2.7 and 6.7, recording `call-adulting`."""
    stage = dialled(Dial(talk_s=None)).command("redirect", {"child_call_hook": "/child"})
    redirect = stage.last("session:redirect")
    child = redirect["data"]["call_sid"]
    assert redirect["data"]["parent_call_sid"] == stage.call.info.call_sid
    stage.ack(redirect, [*GATHER])
    assert stage.opened[-1].url == "ws://app.test/ivr/adulting"
    adulting = stage.last("session:adulting")
    assert "call_sid" not in adulting
    assert adulting["data"]["call_sid"] == child
    assert adulting["data"]["parent_call_info"]["call_sid"] == stage.call.info.call_sid
    stage.ack(adulting, connection=2)
    # As in the recording of the real client (call-adulting): it was connected.
    assert stage.last("verb:hook", "/done")["data"]["dial_call_status"] == "completed"
    stage.command("redirect", [{"verb": "redirect", "actionHook": "/there"}], connection=2)
    assert "call_sid" not in stage.last("session:redirect", "/there")
    stage.hang_up().advance(1)
    # Each socket stays until the last hook on it is acked; the answer to a call that is over runs nothing.
    assert stage.closed == []
    stage.ack(stage.last("verb:hook", "/done"), HELLO, connection=1)
    stage.ack(stage.last("session:redirect", "/there"), HELLO, connection=2).advance(1)
    assert sorted(stage.closed) == [(1, 1000), (2, 1000)]
    assert stage.statuses()[-2:] == ["completed", "completed"]
    assert stage.verb is None


def test_leg_with_a_life_of_its_own_outlives_the_caller() -> None:
    """Section 2.7: its app goes on with it, until it or the callee hangs up (``talk_s`` after the answer)."""
    stage = dialled(Dial(talk_s=60)).command("redirect", {"child_call_hook": "/child"})
    stage.ack(stage.last("session:redirect"), GATHER).ack(stage.last("session:adulting"), connection=2)
    stage.ack(stage.last("verb:hook", "/done"), [], connection=1).hang_up().advance(1)
    assert (stage.closed, stage.result) == ([(1, 1000)], None)
    stage.command("redirect", [{"verb": "redirect", "actionHook": "/there"}], connection=2).advance(1)
    stage.ack(stage.last("session:redirect", "/there"), PAUSE, connection=2).advance(56)
    assert stage.result is None
    assert stage.advance(3).closed == [(1, 1000), (2, 1000)]
    assert (stage.outcome, stage.statuses()[-1]) == ("completed", "completed")


def test_leg_with_a_life_of_its_own_ends_when_its_app_says_so() -> None:
    stage = dialled(Dial(talk_s=60)).command("redirect", {"child_call_hook": "/child"})
    stage.ack(stage.last("session:redirect"), [{"verb": "pause", "length": 1}, {"verb": "hangup"}])
    stage.ack(stage.last("session:adulting"), connection=2)
    stage.ack(stage.last("verb:hook", "/done"), PAUSE, connection=1).advance(2)
    assert (stage.closed, stage.verb) == ([(2, 1000)], "pause")


def test_adulting_suffix_grows_with_each_adulting() -> None:
    """Section 2.7: the object of the URL is shared, pitfall 36."""
    stage = running([DIAL, DIAL], Script(dials=(Dial(talk_s=None),)))
    for _ in range(2):
        stage.advance(1.1).command("redirect", {"child_call_hook": "/child"}, connection=1)
        stage.ack(stage.last("session:redirect"), PAUSE, connection=1)
        stage.ack(stage.last("verb:hook", "/done"), [], connection=1)
    assert [opening.url for opening in stage.opened[1:]] == [
        "ws://app.test/ivr/adulting",
        "ws://app.test/ivr/adulting/adulting",
    ]


@pytest.mark.parametrize(
    ("url", "opened"),
    [("ws://app.test/ivr?t=1", "ws://app.test/ivr?t=1/adulting"), ("ws://app.test/ivr#rc=2", "ws://app.test/ivr")],
    ids=["behind_a_query", "behind_a_hash"],
)
def test_adulting_suffix_goes_to_the_very_end_of_the_url(url: str, opened: str) -> None:
    """Section 2.7: behind a hash it is lost; parseInt still reads the 2 of ``rc=2/adulting``."""
    stage = Stage(Script(dials=(Dial(talk_s=None),)), url=url).start()
    stage.ack(stage.last(), [DIAL]).advance(2).command("redirect", {"child_call_hook": "/child"})
    stage.ack(stage.last("session:redirect"), PAUSE)
    assert stage.opened[-1].url == opened


def test_adulting_leg_has_no_tts_buffer() -> None:
    """Section 2.7: the result is just the id."""
    stage = dialled(Dial(talk_s=None)).command("redirect", {"child_call_hook": "/child"})
    stage.ack(stage.last("session:redirect"), [{"verb": "config", "ttsStream": {"enable": True}}, *PAUSE])
    stage.command("config", {"ttsStream": {"enable": False}}, connection=2)
    stage.command("tts:tokens", {"id": 1, "tokens": "x"}, connection=2)
    assert stage.last("tts:tokens-result")["data"] == {"id": 1}


@pytest.mark.parametrize("verbs", [None, [{"verb": "nonsense"}]], ids=["late", "invalid"])
def test_child_whose_redirect_fails_stays_in_the_dial(verbs: Any) -> None:
    stage = dialled(Dial(talk_s=None)).command("redirect", {"child_call_hook": "/child"})
    if verbs is None:
        stage.advance(5)
    else:
        stage.ack(stage.last("session:redirect"), verbs)
    assert len(stage.opened) == 1
    assert stage.verb == "dial"


def test_child_that_left_before_the_ack_does_not_grow_up() -> None:
    stage = dialled(Dial(talk_s=1)).command("redirect", {"child_call_hook": "/child"}).advance(2)
    stage.ack(stage.last("session:redirect"), PAUSE)
    assert len(stage.opened) == 1


def test_call_hook_and_child_call_hook_may_come_together() -> None:
    """Recording `call-adulting`: both are asked before either is followed."""
    stage = dialled(Dial(talk_s=None)).command("redirect", {"call_hook": "/p", "child_call_hook": "/c"})
    assert [frame["hook"] for frame in stage.sent("session:redirect")] == ["/p", "/c"]
    stage.ack(stage.last("session:redirect", "/p"), GATHER, connection=1)
    assert stage.verb == "dial"
    stage.ack(stage.last("session:redirect", "/c"), PAUSE, connection=1)
    assert (len(stage.opened), stage.verb) == (2, "dial")
    # As there, what the dial's hook brings is ignored, since the dial was replaced.
    assert stage.ack(stage.last("verb:hook", "/done"), HELLO, connection=1).verb == "gather"


def test_adulting_session_that_is_not_reconnected_ends_alone() -> None:
    stage = dialled(Dial(talk_s=None)).command("redirect", {"child_call_hook": "/child"})
    stage.ack(stage.last("session:redirect"), PAUSE)
    stage.ack(stage.last("session:adulting"), connection=2)
    stage.server_closes(1006, 2).advance(6)
    assert "reconnect_failed" in stage.anomalies()
    assert stage.result is None
    assert stage.hang_up().advance(1).outcome == "completed"


# Queues.

ENQUEUE: dict[str, Any] = {"verb": "enqueue", "name": "support", "waitHook": "/wait", "actionHook": "/left"}


def test_wait_hook_of_a_queue_is_asked_again_at_once_after_its_verbs() -> None:
    """Sections 2.8 and 6.5."""
    stage = running([ENQUEUE], Script(queue_s=None, tag={"x": 1}))
    wait = stage.last("verb:hook", "/wait")
    assert set(wait["data"]) == {
        "queue_sid", "queue_time", "queue_size", "queue_position", "call_sid", "call_id", "customerData",
    }  # fmt: skip
    stage.ack(wait, [{"verb": "tag", "data": {"y": 2}}, {"verb": "play", "url": "music"}]).advance(2.01)
    again = stage.sent("verb:hook", "/wait")
    assert len(again) == 2
    assert again[-1]["data"]["customerData"] == {"y": 2}


@pytest.mark.parametrize("verbs", [None, [], [{"verb": "gather"}], [{"verb": "nonsense"}]])
def test_wait_hook_without_a_usable_answer_is_never_asked_again(verbs: Any) -> None:
    """Pitfall 17: silence."""
    stage = running([ENQUEUE], Script(queue_s=None))
    if verbs is None:
        stage.advance(5)
    else:
        stage.ack(stage.last("verb:hook"), verbs)
    stage.advance(600)
    assert len(stage.sent("verb:hook")) == 1
    assert stage.anomalies()[-1] == "wait_loop_ended"
    assert stage.verb == "enqueue"


def test_tag_that_is_no_object_clears_the_customer_data_of_a_waiting_caller() -> None:
    stage = running([ENQUEUE], Script(queue_s=None, tag={"x": 1}))
    stage.ack(stage.last("verb:hook", "/wait"), [{"verb": "tag", "data": 7}]).advance(0.01)
    assert "customerData" not in stage.last("verb:hook", "/wait")["data"]


def test_queued_caller_is_bridged_and_the_hook_told() -> None:
    stage = running([{**ENQUEUE, "waitHook": ""}, *PAUSE]).advance(10)
    left = stage.last("verb:hook", "/left")["data"]
    assert (left["queue_result"], left["queue_time"]) == ("bridged", 10)
    assert stage.ack(stage.last("verb:hook"), []).verb == "pause"


def test_leave_verb_leaves_the_queue() -> None:
    stage = running([ENQUEUE])
    stage.ack(stage.last("verb:hook", "/wait"), [{"verb": "leave"}])
    assert stage.last("verb:hook", "/left")["data"]["queue_result"] == "leave"


def test_caller_who_hangs_up_leaves_the_queue() -> None:
    stage = running([ENQUEUE]).hang_up()
    assert stage.last("verb:hook", "/left")["data"]["queue_result"] == "hangup"


def test_dequeue_does_not_await_its_hook() -> None:
    """Section 2.8."""
    stage = running([{"verb": "dequeue", "name": "support", "actionHook": "/served"}, *PAUSE]).advance(2)
    assert stage.last("verb:hook")["data"]["dequeue_result"] == "complete"
    assert stage.verb == "pause"
    assert running([{"verb": "dequeue", "name": "support"}, *PAUSE]).advance(2).verb == "pause"


# Conferences.

CONFERENCE: dict[str, Any] = {"verb": "conference", "name": "room7", "actionHook": "/done"}


def test_conference_hooks_carry_the_raw_tag_key() -> None:
    """Sections 2.1 and 6.4, pitfall 29: `customerdata` in hooks built from the raw info."""
    verb = {**CONFERENCE, "waitHook": "/wait", "enterHook": "/enter"}
    stage = running([{"verb": "tag", "data": {"orderNo": 1}}, verb])
    enter = stage.last("verb:hook", "/enter")
    assert enter["data"]["customerdata"] == {"order_no": 1}
    stage.ack(enter, HELLO).advance(1)
    stage.ack(stage.last("verb:hook", "/wait"), HELLO).advance(1)
    assert len(stage.sent("verb:hook", "/wait")) == 2
    stage.ack(stage.last("verb:hook", "/wait"), []).advance(60)
    assert len(stage.sent("verb:hook", "/wait")) == 2


def test_conference_events_that_were_asked_for_are_told() -> None:
    verb = {**CONFERENCE, "statusHook": "/conf", "statusEvents": ["start", "end"]}
    stage = running([verb]).hang_up().advance(1)
    assert [frame["data"]["event"] for frame in stage.sent("verb:hook", "/conf")] == ["start", "end"]


def test_hook_of_a_conference_that_one_has_left_may_bring_verbs() -> None:
    stage = running([CONFERENCE]).command("conf:participant-action", {"action": "kick"})
    assert stage.ack(stage.last("verb:hook", "/done"), GATHER).verb == "gather"


def test_kicked_participant_goes_on_with_the_stack() -> None:
    """tasks/conference.js, exec: first its actionHook is told and acked."""
    stage = running([CONFERENCE, *PAUSE]).command("conf:participant-action", {"action": "kick"})
    assert stage.verb == "conference"
    assert stage.ack(stage.last("verb:hook", "/done"), []).verb == "pause"


def test_participant_on_hold_hears_the_wait_hook_until_unheld() -> None:
    """Section 3.2."""
    stage = running([CONFERENCE]).command("conf:hold-status", {"conf_hold_status": "hold", "wait_hook": "/hold"})
    stage.command("conf:hold-status", {"conf_hold_status": "hold", "wait_hook": "/hold"})
    stage.ack(stage.last("verb:hook", "/hold"), HELLO).advance(1)
    assert len(stage.sent("verb:hook", "/hold")) == 2
    stage.command("conf:participant-action", {"action": "unhold"})
    stage.ack(stage.last("verb:hook", "/hold"), HELLO).advance(60)
    assert len(stage.sent("verb:hook", "/hold")) == 2
    stage.command("conf:participant-action", {"action": "hold"})
    assert {verdict for _, verdict in stage.verdicts()} == {"accepted"}

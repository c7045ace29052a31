"""What the last status of a call ends, and what still follows it."""

import pytest

from jambonz_gateway.policy import NEVER
from tests.unit.gateway.sessions import (
    ack,
    acks,
    attached_call,
    close_codes,
    command,
    commands,
    hook,
    message,
    outcomes,
    running_call,
    status,
)


def test_command_after_the_last_status_is_gone() -> None:
    """Jambonz is closing: it would not see it; the sender is told (P4, section 12)."""
    bench = running_call()
    bench.hears(status("completed"))
    effects = bench.batch(2, command("c1"))
    assert commands(effects) == []
    assert outcomes(effects) == [("c1", "gone")]


def test_command_that_waits_when_the_call_ends_is_gone() -> None:
    """A caller who hangs up during the greeting."""
    bench = attached_call()
    bench.batch(1, ack("d0", "new"), command("c1"))
    bench.pong()
    effects = bench.hears(status("completed"))
    assert outcomes(effects) == [("c1", "sent")], "the status itself shows that jambonz listens"
    bench = attached_call()
    bench.batch(1, command("c1"))
    bench.hears(status("completed"))
    bench.later(4.0)
    assert outcomes(bench.later(0.25)) == [("c1", "gone")]


def test_hook_after_the_last_status_is_still_answered() -> None:
    """P1: jambonz sends hooks behind `completed` and waits for their acks (ADR 0002)."""
    bench = running_call()
    bench.hears(status("completed"))
    bench.hears(hook("m1", "/done"))
    assert list(acks(bench.batch(2, ack("d1", "m1")))) == ["m1"]


def test_socket_is_reaped_after_the_last_status() -> None:
    """Jambonz never closes a socket it opened only to say `completed` (pitfall 31)."""
    bench = running_call()
    bench.hears(status("completed"))
    assert bench.session.is_over
    assert bench.session.wake_at_s == bench.now_s + 5.0
    assert close_codes(bench.later(4.9)) == []
    assert close_codes(bench.later(0.1)) == [1000]
    assert bench.session.wake_at_s == NEVER


@pytest.mark.parametrize("call_status", ["completed", "failed", "busy", "no-answer"])
def test_final_statuses(call_status: str) -> None:
    """After each of them the leg is over (PROTOCOL.md 2.10)."""
    bench = running_call()
    bench.hears(status(call_status))
    assert bench.session.is_over


@pytest.mark.parametrize("call_status", ["trying", "ringing", "early-media", "in-progress", "queued"])
def test_other_statuses_end_nothing(call_status: str) -> None:
    """Calls live on."""
    bench = running_call()
    bench.hears(status(call_status))
    assert bench.session.is_over is False


def test_socket_is_not_reaped_while_a_hook_is_owed() -> None:
    """P1: a hook that came late after the last status still has its full time."""
    bench = running_call()
    bench.hears(status("completed"))
    bench.later(3.0)
    bench.hears(hook("m1", "/done"))
    assert close_codes(bench.later(2.0)) == []
    effects = bench.later(2.0)
    assert list(acks(effects)) == ["m1"]
    assert close_codes(effects) == [1000]


def test_status_that_is_no_text_is_no_final_status() -> None:
    """P9: whatever a peer sends is a message or a bad frame, never an error of ours."""
    bench = running_call()
    bench.hears(message("call:status", "s", call_status=["completed"]))
    assert bench.session.is_over is False

"""B legs of a dial on their parent's socket: Calls of their own, born where the parent lives."""

from jambonz_gateway.effects import Attach, Detach, Forget
from jambonz_shared.directive import Close, OwnerChanged
from tests.unit.gateway.sessions import (
    CALL,
    LEG,
    START_MS,
    WORKER,
    Published,
    ack,
    acks,
    attached_call,
    close_codes,
    command,
    commands,
    counted,
    hook,
    kinds_published,
    message,
    outcomes,
    published,
    running_call,
    status,
    with_leg,
)


def test_first_message_of_a_leg_attaches_it() -> None:
    """Its own hash, log and numbers: any worker can control it by its call_sid (P5)."""
    bench = running_call()
    assert bench.hears(status("trying", sid=LEG)) == [Attach(LEG, "leg", is_reconnect=True)]


def test_leg_is_offered_to_the_owner_of_its_parent() -> None:
    """The application that dialled knows what the leg is for."""
    bench = running_call()
    bench.hears(status("trying", sid=LEG))
    assert published(bench.attached(LEG)) == [Published(WORKER, LEG, 1, 1, "s")]


def test_leg_holds_its_events_until_somebody_owns_it() -> None:
    """Offered is not claimed."""
    bench = running_call()
    bench.hears(status("trying", sid=LEG))
    bench.attached(LEG)
    assert published(bench.hears(hook("m1", sid=LEG))) == []
    assert published(bench.owner(call_sid=LEG)) == [Published(WORKER, LEG, 1, 2, "m1")]


def test_leg_whose_parent_s_worker_is_dead_goes_to_dispatch() -> None:
    """P6: the offer comes back, then anybody may have it."""
    bench = running_call()
    bench.hears(status("trying", sid=LEG))
    [offer] = bench.attached(LEG)
    [again] = bench.session.returned(WORKER, offer.envelope)  # type: ignore[union-attr]
    assert published([again]) == [Published("", LEG, 1, 1, "s")]


def test_hook_of_a_leg_is_answered_through_the_leg_s_own_channel() -> None:
    """dial:confirm names the child in its data and the parent at the top (PROTOCOL.md 2.9)."""
    bench = with_leg(running_call())
    bench.hears(message("dial:confirm", "m1", sid=LEG, hook="/confirm"))
    assert list(acks(bench.batch(2, ack("d1", "m1"), call_sid=LEG))) == ["m1"]


def test_leg_takes_commands() -> None:
    """A whisper or a mute for the B leg alone."""
    bench = with_leg(running_call())
    assert commands(bench.batch(2, command("c1"), call_sid=LEG)) == ["hi"]


def test_leg_is_detached_at_its_final_status() -> None:
    """It has no socket of its own whose end would tell (architecture.md section 7)."""
    bench = with_leg(running_call())
    effects = bench.hears(status("completed", sid=LEG))
    assert [event.call_sid for event in published(effects)] == [LEG]
    assert effects[-1] == Detach(LEG, 1)
    assert bench.session.is_over is False


def test_end_of_a_leg_is_published_when_it_is_detached() -> None:
    """Behind everything else of the leg, so the worker ends it last."""
    bench = with_leg(running_call())
    bench.hears(status("completed", sid=LEG))
    effects = bench.session.detached(LEG, 0, START_MS)
    assert published(effects) == [Published(WORKER, LEG, 1, 3, "")]
    assert effects[-1] == Forget(LEG)
    assert list(bench.session.routes) == [CALL]


def test_leg_that_has_moved_to_a_socket_of_its_own_is_not_ended() -> None:
    """An adulted leg lives on elsewhere: a Connection is left."""
    bench = with_leg(running_call())
    bench.hears(status("completed", sid=LEG))
    assert published(bench.session.detached(LEG, 1, START_MS)) == []


def test_leg_that_is_over_stays_so_when_the_socket_drops() -> None:
    """P8: nobody reconnects for it, so nothing of it may wait for that."""
    bench = with_leg(running_call())
    bench.hears(status("completed", sid=LEG))
    bench.session.closed(1006)
    assert kinds_published(bench.session.detached(LEG, 0, START_MS)) == ["cluster:ended"]


def test_command_of_a_leg_waits_on_when_a_side_line_takes_its_parent_s() -> None:
    """P4: the leg has stayed on this socket, and nobody else sends it."""
    bench = attached_call()
    bench.hears(status("trying", sid=LEG))
    bench.attached(LEG)
    bench.batch(1, command("c1"), call_sid=LEG)
    bench.newer(line="side")
    bench.batch(1, ack("d1", "new"))
    assert commands(bench.later(0.25)) == ["hi"]


def test_close_that_waited_refuses_nothing_of_a_leg() -> None:
    """Its command is in another log, where the next Connection finds it."""
    bench = attached_call()
    bench.hears(status("trying", sid=LEG))
    bench.attached(LEG)
    bench.batch(1, ack("d1", "new"), Close("x1", 1012, WORKER))
    bench.batch(1, command("c1"), call_sid=LEG)
    assert outcomes(bench.later(0.25)) == [("x1", "sent")]


def test_leg_that_ended_before_it_was_attached_is_detached_then() -> None:
    """Redis was slow, or the callee was busy."""
    bench = running_call()
    bench.hears(status("trying", "s1", sid=LEG))
    assert bench.hears(status("busy", "s2", sid=LEG)) == []
    effects = bench.attached(LEG)
    assert [event.msgid for event in published(effects)] == ["s1", "s2"]
    assert effects[-1] == Detach(LEG, 1)


def test_command_to_a_leg_that_is_over_is_gone() -> None:
    """P4: its sender is told; the parent's call goes on."""
    bench = with_leg(running_call())
    bench.hears(status("completed", sid=LEG))
    effects = bench.batch(2, command("c1"), call_sid=LEG)
    assert commands(effects) == []
    assert outcomes(effects) == [("c1", "gone")]
    assert commands(bench.batch(2, command("c2"))) == ["hi"]


def test_leg_on_a_newer_socket_does_not_close_its_parent_s() -> None:
    """An adulted leg attaches from its own socket; the parent's is as alive as before."""
    bench = with_leg(running_call())
    assert close_codes(bench.newer(2, "side", LEG)) == []
    assert close_codes(bench.newer(3, "leg", LEG)) == []
    assert close_codes(bench.newer(4, "main", LEG)) == []
    assert commands(bench.batch(2, command("c1"), call_sid=LEG)) == []


def test_legs_are_bounded() -> None:
    """A dial rings tens of targets; a peer that invents calls must not fill Redis."""
    bench = running_call()
    for number in range(64):
        bench.hears(status("trying", sid=f"leg-{number}"))
    assert counted(bench.hears(hook("m1", sid="one-too-many"))) == ["event_dropped"]
    assert list(acks(bench.later(4.0))) == ["m1"], "what is dropped is still answered"


def test_leg_of_another_app_is_forgotten() -> None:
    """P9: no app reaches the calls of another; the parent's call goes on."""
    bench = running_call()
    bench.hears(status("trying", sid=LEG))
    effects = bench.session.refused(LEG)
    assert counted(effects) == ["foreign_call"]
    assert effects[-1] == Forget(LEG)
    assert close_codes(effects) == []


def test_leg_s_owner_notice_does_not_touch_its_parent() -> None:
    """Calls are independent, even on one socket."""
    bench = with_leg(running_call())
    bench.channel(OwnerChanged(9, "worker-2"), LEG)
    assert [event.worker_id for event in published(bench.hears(hook("m1")))] == [WORKER]

"""The scheduler below the simulated call: order, time, killing."""

from jambonz_simulator.core.kernel import KILLED, TIMED_OUT, Kernel, Promise, Steps
from jambonz_simulator.core.timing import JAMBONZ_TIMING


def test_timers_fire_in_order_of_due_time_then_of_setting() -> None:
    kernel, fired = Kernel(), list[str]()
    kernel.after(2, lambda: fired.append("late"))
    kernel.after(1, lambda: fired.append("first"))
    kernel.after(1, lambda: fired.append("second"))
    kernel.run(1.5)
    assert fired == ["first", "second"]
    assert (kernel.now_s, kernel.wakes_at_s) == (1.5, 2)


def test_time_never_goes_back() -> None:
    kernel = Kernel()
    kernel.run(5)
    kernel.run(3)
    assert kernel.now_s == 5


def test_cancelled_timer_neither_fires_nor_wakes() -> None:
    kernel, fired = Kernel(), list[str]()
    kernel.after(1, lambda: fired.append("x")).cancel()
    kernel.after(2, lambda: fired.append("y")).cancel()
    kernel.run(1)
    assert kernel.wakes_at_s is None
    assert fired == []


def test_promise_is_settled_once_and_tells_latecomers() -> None:
    kernel, seen = Kernel(), list[int]()
    promise: Promise[int] = Promise(kernel)
    promise.then(seen.append)
    promise.settle(1)
    promise.settle(2)
    promise.then(seen.append)
    assert seen == [], "callbacks run later, never inside settle"
    kernel.run(0)
    assert seen == [1, 1]


def test_first_gives_the_earliest_promise_or_times_out() -> None:
    kernel, seen = Kernel(), list[object]()
    slow, quick = kernel.sleep(5), kernel.sleep(1)
    kernel.first(slow, quick, within_s=3).then(seen.append)
    kernel.first(slow, within_s=2).then(seen.append)
    kernel.run(10)
    assert seen == [None, TIMED_OUT]


def waiting(promise: Promise[int], log: list[str]) -> Steps[int]:
    try:
        value: int = yield promise
        log.append(f"got {value}")
        return value
    finally:
        log.append("left")


def test_process_is_resumed_with_the_value_of_its_promise() -> None:
    kernel, log = Kernel(), list[str]()
    promise: Promise[int] = Promise(kernel)
    process = kernel.spawn(waiting(promise, log))
    kernel.run(0)
    promise.settle(7)
    kernel.run(0)
    assert log == ["got 7", "left"]
    assert (process.finished.value, process.is_over) == (7, True)
    process.kill()
    kernel.run(0)
    assert process.finished.value == 7


def test_killed_process_leaves_through_its_finally_and_is_not_resumed() -> None:
    kernel, log = Kernel(), list[str]()
    promise: Promise[int] = Promise(kernel)
    process = kernel.spawn(waiting(promise, log))
    kernel.run(0)
    process.kill()
    promise.settle(7)
    kernel.run(0)
    assert log == ["left"]
    assert process.finished.value is KILLED


def test_process_killed_before_its_first_step_never_runs() -> None:
    kernel, log = Kernel(), list[str]()
    process = kernel.spawn(waiting(Promise(kernel), log))
    process.kill()
    kernel.run(0)
    assert log == []
    assert process.finished.value is KILLED


def test_process_may_kill_itself_and_end() -> None:
    kernel = Kernel()

    def body() -> Steps[int]:
        yield kernel.sleep(0)
        process.kill()
        return 7

    process = kernel.spawn(body())
    kernel.run(0)
    assert process.finished.value is KILLED


def test_scaled_times_keep_the_gate() -> None:
    quick = JAMBONZ_TIMING.scaled(0.1)
    assert (quick.ack_timeout_s, quick.gate_s) == (0.5, JAMBONZ_TIMING.gate_s)
    assert [round(quick.next_backoff_s(s), 3) for s in (0.05, 0.1, 0.2, 0.4)] == [0.1, 0.2, 0.4, 0.6]

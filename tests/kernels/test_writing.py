"""The store's lock, the signal that something was written, and the clock: the compiled ones and the plain ones."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from crdtsync.pure.writing import Signal, Writer, wall_ms
from tests.laws import implementations, load

WAYS: dict[str, Any] = {"pure": SimpleNamespace(Signal=Signal, Writer=Writer, wall_ms=wall_ms)}
if "native" in implementations():
    WAYS["native"] = load("native")


@pytest.fixture(params=sorted(WAYS))
def way(request: pytest.FixtureRequest) -> Any:
    return WAYS[request.param]


@pytest.fixture
def lock(way: Any) -> Any:
    core = SimpleNamespace(hybrid=None, appended=way.Signal(), named={}, on_change=[])
    return way.Writer(core, 1, 1, 1, False).lock


def elsewhere(call: Callable[[], Any]) -> Any:
    """What a call gives on another thread."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def test_the_lock_is_its_owners_as_often_as_taken(lock: Any) -> None:
    assert lock.acquire() and lock.acquire(timeout=5) and lock.acquire(False)
    for _ in range(3):
        assert lock._is_owned() and not elsewhere(lock._is_owned)
        assert not elsewhere(lambda: lock.acquire(False)) and not elsewhere(lambda: lock.acquire(timeout=0.01))
        lock.release()
    assert not lock._is_owned()
    assert elsewhere(lambda: (lock.acquire(False), lock.release())) == (True, None)


def test_nobody_else_gives_the_lock_back(lock: Any) -> None:
    def give() -> str:
        with pytest.raises(RuntimeError, match="un-acquired"):
            lock.release()
        return "refused"

    assert give() == "refused"
    with lock:
        assert elsewhere(give) == "refused" and lock._is_owned()
    assert give() == "refused"


def test_times_that_make_no_sense_are_refused(lock: Any) -> None:
    for arguments in ((False, 1), (True, -2)):
        with pytest.raises(ValueError, match=r"timeout|blocking"):
            lock.acquire(*arguments)
    assert not lock._is_owned()


def test_threads_exclude_each_other(lock: Any) -> None:
    inside, most, counted = [0], [0], [0]

    def work() -> None:
        for _ in range(300):
            with lock, lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0)  # lets others try
                counted[0] += 1
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most[0], counted[0], lock._is_owned()) == (1, 1200, False)


def test_a_condition_gives_all_holds_back_and_takes_them_again(lock: Any) -> None:
    condition, ready = threading.Condition(lock), []

    def tell() -> bool:
        with condition:
            ready.append(1)
            condition.notify_all()
        return True

    with lock, condition:
        thread = threading.Thread(target=tell)
        thread.start()
        assert condition.wait_for(lambda: ready, timeout=30)
        assert lock._is_owned()
        thread.join()
    assert not lock._is_owned() and elsewhere(lambda: (lock.acquire(False), lock.release())) == (True, None)


def test_a_signal_ends_waiting_for_the_lock(lock: Any) -> None:
    class Interrupted(Exception):
        pass

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted

    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            taken.set()
            done.wait(60)

    holder = threading.Thread(target=hold)
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        holder.start()
        taken.wait()
        threading.Timer(0.05, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1)).start()
        with pytest.raises(Interrupted):
            lock.acquire()
        assert not lock._is_owned()
    finally:
        signal.signal(signal.SIGUSR1, before)
        done.set()
        holder.join()
    assert lock.acquire(timeout=30)
    lock.release()


def test_a_signal_wakes_who_waits_for_it(way: Any) -> None:
    woken, told = way.Signal(), threading.Event()

    def wait() -> None:
        woken.wait()
        told.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not woken.up
    woken.set()
    assert told.wait(30) and woken.up
    thread.join()
    woken.wait()  # it stays until somebody clears it
    woken.clear()
    assert not woken.up


def test_the_clock_is_the_systems(way: Any) -> None:
    before = time.time_ns() // 1_000_000
    now = way.wall_ms()
    assert before <= now <= time.time_ns() // 1_000_000

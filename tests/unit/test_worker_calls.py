"""The calls of task functions over a socket pair, and outside a run."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import taskrun
from taskrun.worker import session as sessions
from taskrun.worker import wire
from taskrun.worker.session import Session
from taskrun.worker.stopping import Cancelled, Interruption


class Runner:
    """The other end."""

    def __init__(self, sock):
        self.socket = sock
        self.socket.settimeout(30)
        self.reader = wire.Reader()
        self.messages = []

    def tell(self, message):
        self.socket.sendall(wire.encode(message))

    def receive(self):
        while not self.messages:
            self.messages += self.reader.feed(self.socket.recv(65536))
        return self.messages.pop(0)

    def all(self):
        self.socket.settimeout(0.05)
        try:
            while data := self.socket.recv(65536):
                self.messages += self.reader.feed(data)
        except TimeoutError:
            pass
        found, self.messages = self.messages, []
        return found


@pytest.fixture
def runner():
    ours, theirs = socket.socketpair()
    session = Session(theirs.detach())
    sessions.begin(session)
    yield Runner(ours)
    sessions.begin(None)
    session._socket.close()
    ours.close()


def test_outside_a_run_every_call_does_nothing():
    assert taskrun.progress(1, 2, "x") is None
    assert taskrun.status("x") is None
    assert list(taskrun.track([1, 2])) == [1, 2]
    assert list(taskrun.track(iter("ab"), total=2)) == ["a", "b"]
    assert taskrun.cancelled() is False
    assert taskrun.time_left() is None
    assert taskrun.checkpoint(object()) is None
    assert taskrun.restored() is None


def test_progress_is_sent_and_the_flood_is_not(runner):
    started = time.monotonic()
    for n in range(100_000):
        taskrun.progress(n, 100_000)
    taskrun.progress(100_000, 100_000, "done")
    passed = time.monotonic() - started
    sent = runner.all()
    assert sent[0] == wire.Progress(done=0, total=100_000)
    assert sent[-1] == wire.Progress(done=100_000, total=100_000, message="done")
    assert len(sent) <= passed / sessions.PAUSE + 7


def test_the_latest_progress_that_was_kept_back_comes_before_the_answer(runner):
    for n in range(50):
        taskrun.progress(n)
    sessions.current.finish(wire.Result(value=b"1"))
    sent = runner.all()
    assert sent[-2:] == [wire.Progress(done=49), wire.Result(value=b"1")]


def test_progress_of_odd_numbers(runner):
    taskrun.progress(float("nan"))
    taskrun.progress(1, float("inf"))
    taskrun.progress(True, 2)
    with pytest.raises((TypeError, ValueError)):
        taskrun.progress("many")
    with pytest.raises((TypeError, ValueError)):
        taskrun.progress([], 2)
    assert runner.all() == [wire.Progress(done=1.0, total=2.0)]


def test_a_message_may_be_anything(runner):
    taskrun.progress(1, 2, "\udc80")
    taskrun.progress(2, 2, None)
    assert [m.message for m in runner.all()] == ["?", "None"]


def test_track_counts(runner):
    assert list(taskrun.track("abc", message="letters")) == ["a", "b", "c"]
    sent = runner.all()
    assert [m.done for m in sent] == [0, 1, 2, 3]
    assert {m.total for m in sent} == {3}
    list(taskrun.track(iter("abc")))
    assert runner.all()[-1] == wire.Progress(done=3, total=3)
    with pytest.raises(TypeError):
        taskrun.track(3)


def test_a_status_is_sent_once_while_it_is_the_same(runner):
    for text in ("a", "a", "b", 3):
        taskrun.status(text)
    assert [m.text for m in runner.all()] == ["a", "b", "3"]


def test_time_left_follows_the_clock(runner):
    assert taskrun.time_left() is None
    sessions.current.start(wire.Call(target="a:b", time_left=100.0))
    assert 90 < taskrun.time_left() <= 100
    runner.tell(wire.ClockUpdate(time_left=500.0))
    assert 490 < taskrun.time_left() <= 500
    runner.tell(wire.ClockUpdate(time_left=-3.0))
    assert taskrun.time_left() == 0.0
    runner.tell(wire.ClockUpdate(time_left=None))
    assert taskrun.time_left() is None


def test_a_checkpoint_returns_when_it_is_saved(runner):
    def save():
        checkpoint = runner.receive()
        saved.append(checkpoint.value)
        runner.tell(wire.ClockUpdate(time_left=5.0))
        runner.tell(wire.CheckpointSaved(id=checkpoint.id))

    saved: list[bytes] = []
    thread = threading.Thread(target=save)
    thread.start()
    taskrun.checkpoint({"at": [1]})
    assert saved == [b'{"at":[1]}']
    thread.join()
    assert taskrun.restored() == {"at": [1]}
    taskrun.restored()["at"].append(2)
    assert taskrun.restored() == {"at": [1]}
    assert taskrun.time_left() > 0


def test_checkpoints_of_several_threads_do_not_mix(runner):
    def answer():
        taken = [runner.receive() for _ in range(4)]
        for checkpoint in reversed(taken):
            runner.tell(wire.CheckpointSaved(id=checkpoint.id))

    threads = [threading.Thread(target=taskrun.checkpoint, args=(n,)) for n in range(4)]
    threads.append(threading.Thread(target=answer))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_checkpoints_that_cannot_be_are_refused_at_once(runner):
    with pytest.raises(TypeError, match=r"not a checkpoint: `result.f` is of type `function`"):
        taskrun.checkpoint({"f": lambda: 0})
    with pytest.raises(ValueError, match="the limit is 1,048,576"):
        taskrun.checkpoint("x" * (1 << 20))
    assert runner.all() == []


def test_a_checkpoint_that_could_not_be_written_raises(runner):
    runner.tell(wire.CheckpointSaved(id=1, error="No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        taskrun.checkpoint(1)
    assert taskrun.restored() is None
    runner.socket.shutdown(socket.SHUT_RDWR)
    with pytest.raises(OSError, match="channel to the runner is closed"):
        taskrun.checkpoint(1)


def test_a_runner_that_is_gone_hurts_nobody(runner):
    runner.socket.close()
    for n in range(100):
        taskrun.progress(n)
        taskrun.status(str(n))
    assert taskrun.time_left() is None
    assert sessions.current.finish(wire.Result(value=b"1")) is False


def test_frames_of_many_threads_stay_whole(runner):
    def talk(name):
        for _ in range(200):
            sessions.current.send(wire.Message(level="warning", text=name * 5000))

    threads = [threading.Thread(target=talk, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    got = [runner.receive() for _ in range(800)]
    for thread in threads:
        thread.join(30)
    assert {(m.text[0] * 5000 == m.text) for m in got} == {True}


def test_a_signal_handler_of_the_tasks_own_may_call_in(runner):
    def handler(_number, _frame):
        taskrun.progress(5, 5)

    def read():
        while runner.receive() != wire.Status(text="end"):
            pass

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for _ in range(200):
            sessions.current.send(wire.Message(level="warning", text="x" * 100_000))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    taskrun.status("end")
    reader.join(30)
    assert not reader.is_alive()


# --- stopping ---------------------------------------------------------------------------------------------------------


def started() -> Interruption:
    interruption = Interruption()
    interruption.begin()
    interruption.allow()
    return interruption


def test_cancelled_is_raised_once():
    interruption = started()
    with pytest.raises(Cancelled, match="stopped by SIGTERM"):
        interruption.heard(signal.SIGTERM, None)
    interruption.heard(signal.SIGTERM, None)
    interruption.heard(signal.SIGINT, None)
    assert interruption.signal == signal.SIGTERM


def test_cancelled_waits_until_a_frame_is_whole():
    interruption = started()
    seen = []

    def send():
        with interruption:
            with interruption:
                interruption.heard(signal.SIGINT, None)
                seen.append("inner")
            seen.append("outer")

    with pytest.raises(Cancelled):
        send()
    assert seen == ["inner", "outer"]


def test_other_threads_do_not_put_it_off():
    interruption = started()
    thread = threading.Thread(target=interruption.__enter__)
    thread.start()
    thread.join()
    with pytest.raises(Cancelled):
        interruption.heard(signal.SIGINT, None)


def test_a_task_that_asked_is_not_raised_into():
    interruption = started()
    interruption.asked = True
    interruption.heard(signal.SIGINT, None)
    assert interruption.signal == signal.SIGINT


def test_nothing_is_raised_after_the_function_and_a_signal_before_it_is_raised_at_its_start():
    interruption = started()
    interruption.forbid()
    interruption.heard(signal.SIGINT, None)
    with interruption:
        pass
    early = Interruption()
    early.begin()
    early.heard(signal.SIGTERM, None)
    with pytest.raises(Cancelled):
        early.allow()


# --- the package's face -----------------------------------------------------------------------------------------------


def test_the_package_imports_nothing_until_it_is_asked():
    code = (
        "import sys, taskrun; assert not [m for m in sys.modules if m.startswith(('taskrun.', 'msgspec'))];"
        "taskrun.progress(1); assert not {'trio', 'click', 'rich', 'threading'} & set(sys.modules);"
        "assert 'track' in dir(taskrun); from taskrun import *; assert Retry is taskrun.Retry"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'progres'"):
        _ = taskrun.progres

"""Functions that an ``Executor``'s workers call, and values that are hard to carry."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

state = "nothing"


def double(number):
    return 2 * number


def pid():
    return os.getpid()


def mark_and_wait(path, until=None):
    """Says in a file who it is; waits for another one, or for ever."""
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(str(os.getpid()))
    os.rename(f"{path}.new", path)
    while until is None or not os.path.exists(until):
        time.sleep(0.005)
    return os.getpid()


def resist(path):
    """As above, and hears no SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    mark_and_wait(path)


def die(number=signal.SIGKILL):
    os.kill(os.getpid(), number)
    time.sleep(10)


def die_if(number):
    if number == 7:
        os._exit(3)
    return number


def fail(error):
    raise error


def fail_with_note():
    error = ValueError("wrong")
    error.add_note("a note")
    raise error  # the line of the traceback


class TwoArguments(Exception):  # noqa: N818 - any name
    """Pickles, and does not unpickle."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class Locked(Exception):  # noqa: N818 - any name
    """Does not pickle."""

    def __init__(self):
        super().__init__("locked")
        self.lock = threading.Lock()


def raise_two():
    raise TwoArguments(1, 2)


def raise_locked():
    raise Locked


def exit_by_itself():
    sys.exit(3)


def lock():
    return threading.Lock()


def explode():
    raise RuntimeError("in the program")


class Trap:
    """Unpickles in a worker only."""

    def __reduce__(self):
        return (explode_unless, (os.getpid(),))


def explode_unless(worker):
    if os.getpid() != worker:
        raise RuntimeError("unpickled elsewhere")
    return "sprung"


def trap():
    return Trap()


def large(size):
    return bytes(size)


def set_state(value):
    global state  # noqa: PLW0603 - as initializers do
    state = value


def get_state():
    return state


def fail_to_start():
    raise ValueError("no initialisation")


def nested(number):
    from taskrun.workers import Executor

    with Executor(1) as executor:
        return executor.submit(double, number).result()


def time_left():
    import taskrun

    return taskrun.time_left()

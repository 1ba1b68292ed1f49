"""A program that grows a tree of processes as it is told to; the standard library alone, since it is copied and run.

    python -I -S tree_program.py LIFELINE NODE      NODE: a node of ``support.trees`` as JSON, or @ and a file's name

Every process of the tree holds the FIFO ``LIFELINE`` open for writing, from before its birth until its death, whatever
else it closes, forgets or leaves: who reads the FIFO to its end knows that all of them are dead.
"""

from __future__ import annotations

import _signal

# Before all else: a KeyboardInterrupt in the midst of an import would show frames that are not this program's.
_signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import json  # noqa: E402 - as above
import os  # noqa: E402 - as above
import signal  # noqa: E402 - as above
import sys  # noqa: E402 - as above
import time  # noqa: E402 - as above

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def hold(lifeline: str) -> None:
    """This process and all that it will start hold the life-line."""
    os.set_inheritable(os.open(lifeline, os.O_WRONLY), True)


def grow(node: dict, lifeline: str) -> None:
    """This process becomes the node, and makes those below it."""
    if node["deaf"]:
        for number in ASKING:
            signal.signal(number, signal.SIG_IGN)
    if node["mute"]:
        os.close(1)
        os.close(2)
    if node["bare"]:
        rest = json.dumps({**node, "bare": False, "mute": False})
        os.execve(sys.executable, [sys.executable, "-I", "-S", __file__, lifeline, rest], {})
    for _ in range(node["chain"]):
        if os.fork():
            os._exit(0)
        os.setsid()
    for child in node["children"]:
        bear(child, lifeline)
    if node["up"]:
        os.close(os.open(node["up"], os.O_CREAT | os.O_WRONLY))
    if node["stopped"]:
        os.kill(os.getpid(), signal.SIGSTOP)
    end = time.monotonic() + node["life"]
    if node["comet"]:
        fly(node["comet"], end)
    time.sleep(max(0.0, end - time.monotonic()))


def bear(node: dict, lifeline: str) -> None:
    """A child that is the node; returns in the parent alone."""
    pid = os.fork()
    if pid:
        if node["how"] == "double":
            os.waitpid(pid, 0)
        return
    try:
        for number in ASKING:  # a Python worker has handlers, which are not the child's
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        if node["how"] == "group":
            os.setpgid(0, 0)
        elif node["how"] != "fork":
            os.setsid()
        if node["how"] == "double" and os.fork():
            os._exit(0)
        grow(node, lifeline)
    finally:
        os._exit(0)


def fly(hop: float, end: float) -> None:
    """Forks, leaves and exits all the time."""
    while time.monotonic() < end:
        if os.fork():
            os._exit(0)
        os.setsid()
        time.sleep(hop)


def main() -> None:
    """A tree of one's own."""
    lifeline, text = sys.argv[1:]
    if text.startswith("@"):
        hold(lifeline)
        with open(text[1:], encoding="utf-8") as file:
            text = file.read()
    node = json.loads(text)
    grow(node, lifeline)
    os._exit(node["code"])


if __name__ == "__main__":
    main()

"""Tiny real programs that behave badly, each in its own way; as argument vectors.

Each writes a line once it has come so far that a test may go on, and writes the pids of all it has started.
"""

from __future__ import annotations

import json
import sys

_PRELUDE = "import os, signal, sys, time\n"


def python(code: str, *arguments: str) -> tuple[str, ...]:
    """A program in Python that starts as fast as it can."""
    return (sys.executable, "-I", "-S", "-c", _PRELUDE + code, *arguments)


def as_task(name: str, argv: tuple[str, ...], **keys: object) -> str:
    """The table of a task that runs it, for a `tasks.toml`; underscores in keys stand for hyphens, or for nothing."""
    lines = [f"[tasks.{name}]", f"run = {json.dumps(argv)}"]
    lines += [f"{key.rstrip('_').replace('_', '-')} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join(lines) + "\n"


def sleeper(seconds: float = 60.0) -> tuple[str, ...]:
    """Says that it is there, and sleeps."""
    return python(f"print('ready', os.getpid(), flush=True); time.sleep({seconds})")


def ignores_term(seconds: float = 60.0) -> tuple[str, ...]:
    """Ignores every signal that can be ignored."""
    return python(
        f"""
for number in signal.valid_signals() - {{9, 19, 17}}:
    try: signal.signal(number, signal.SIG_IGN)
    except OSError: pass
print('ready', os.getpid(), flush=True)
until = time.monotonic() + {seconds}
while time.monotonic() < until: time.sleep(1)
"""
    )


def stops_itself() -> tuple[str, ...]:
    """Sends itself STOP; continued, it says so, and exits 7 on TERM."""
    return python(
        """
signal.signal(signal.SIGTERM, lambda *_: os._exit(7))
print('ready', os.getpid(), flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
print('continued', flush=True)
time.sleep(60)
"""
    )


def daemon(*, clear: bool = False, wait: float = 0.0, seconds: float = 60.0) -> tuple[str, ...]:
    """Leaves a daemon behind: forked twice, in its own session, its streams closed.

    Args:
        clear: Its environment is empty.
        wait: How long the leader waits for it before it exits 0.
        seconds: How long the daemon lives.
    """
    env = "{}" if clear else "os.environ"
    return python(
        f"""
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(writing, str(os.getpid()).encode())
        os.chdir('/')
        null = os.open('/dev/null', os.O_RDWR)
        for fd in (0, 1, 2): os.dup2(null, fd)
        os.closerange(3, 64)
        os.execve('/bin/sleep', ['sleep', '{seconds}'], {env})
    os._exit(0)
os.wait()
print('daemon', os.read(reading, 20).decode(), flush=True)
time.sleep({wait})
"""
    )


def holds_stdout(seconds: float = 60.0) -> tuple[str, ...]:
    """Exits 0 at once; a child in its group keeps its stdout open."""
    return python(
        f"""
pid = os.fork()
if pid == 0:
    time.sleep({seconds})
    os._exit(0)
print('child', pid, flush=True)
os._exit(0)
"""
    )


def last_words(delay: float) -> tuple[str, ...]:
    """Exits 0 at once; a child writes one line more, ``delay`` seconds later, and exits too."""
    return python(
        f"""
if os.fork() == 0:
    time.sleep({delay})
    print('the last line', flush=True)
    os._exit(0)
os._exit(0)
"""
    )


def comets(count: int, hop: float, *, wait: float = 0.2) -> tuple[str, ...]:
    """Leaves ``count`` processes that fork, setsid and exit for ever, each ``hop`` seconds."""
    return python(
        f"""
for _ in range({count}):
    if os.fork() == 0:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if os.fork() != 0: os._exit(0)
            os.setsid()
            time.sleep({hop})
        os._exit(0)
print('ready', os.getpid(), flush=True)
time.sleep({wait})
os._exit(0)
"""
    )


def tree(depth: int, width: int) -> tuple[str, ...]:
    """A tree of sleeping processes; every second one in its own session. Writes all pids, then ``ready``."""
    return python(
        f"""
def grow(depth):
    for number in range({width}):
        if depth and os.fork() == 0:
            if number % 2: os.setsid()
            os.write(1, b'pid %d\\n' % os.getpid())
            grow(depth - 1)
            time.sleep(60)
            os._exit(0)
os.write(1, b'pid %d\\n' % os.getpid())
grow({depth})
time.sleep(60)
"""
    )


BLOCKS = {
    "lines": "b''.join(b'%08d a line of some sixty-four bytes, as programs write them\\n' % n for n in range(16384))",
    "one line": "b'x' * 1000000",
    "zeros": "bytes(1000000)",
}


def writes(block: str, megabytes: int) -> tuple[str, ...]:
    """Writes so many million bytes to its stdout: one of ``BLOCKS``, over and over."""
    return python(
        f"block = memoryview({BLOCKS[block]}); size = len(block); left = {megabytes} * 1000000\n"
        "while left > 0: left -= os.write(1, block[(-left) % size:][:left])"
    )

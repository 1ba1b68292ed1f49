"""The executor of this machine on the contract suite's bench: real hosts, real programs and real Python workers."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import msgspec
import trio
from support.fakes import attempt_of
from support.linked import linked, portable_host

from taskrun.events import TaskOutput
from taskrun.execute.clocks import RunClock
from taskrun.execute.equipment import Equipment, Machinery
from taskrun.execute.local import LocalExecutor
from taskrun.execute.pools import PoolPlan, Pools
from taskrun.link import TemplateSpec
from taskrun.model import BinaryCommand, PythonCall

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.fakes import Recorder

    from taskrun.model import Attempt

_PROGRAMS = {
    "succeed": "echo ready",
    "fail": "echo ready; exit 3",
    "last": "echo ready; exec sleep 600",
    "resist": "trap '' INT TERM HUP QUIT; echo ready; while :; do sleep 0.05; done",
}
_CALLS = """
import signal, sys, time

def succeed():
    print("ready", flush=True)

def fail():
    print("ready", flush=True)
    sys.exit(3)

def last():
    print("ready", flush=True)
    time.sleep(600)

def resist():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    print("ready", flush=True)
    while True:
        time.sleep(0.05)
"""


class LocalBench:
    """Programs in shells."""

    clock = None
    portable = False

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="taskrun-bench-")
        with open(os.path.join(self._folder, "bench_calls.py"), "w") as file:
            file.write(_CALLS)

    @contextlib.asynccontextmanager
    async def executor(self) -> AsyncIterator[LocalExecutor]:
        how = {"start": portable_host(), "adopt": False} if self.portable else {}
        async with linked(**how) as link, trio.open_nursery() as nursery:
            machinery = Machinery(
                link=link,
                clock=RunClock(trio.current_time),
                template=TemplateSpec(
                    python=sys.executable, sys_path=(self._folder,), cwd=self._folder, env=_environ()
                ),
                give_terminal=contextlib.nullcontext,
                suspend=trio.lowlevel.checkpoint,
            )
            await self._equip(machinery, nursery)
            nursery.start_soon(machinery.outputs.serve)
            nursery.start_soon(machinery.controls.serve)
            try:
                executor = LocalExecutor(Equipment(machinery, folder=None, checkpoints=None))
                yield executor
                assert list(executor.running()) == []
                if machinery.pools is not None:
                    await machinery.pools.close(lambda _event: None)
            finally:
                nursery.cancel_scope.cancel()
                machinery.close()

    async def _equip(self, machinery: Machinery, nursery: trio.Nursery) -> None:
        """What else these attempts need."""

    def attempt(self, act: str, task: str, **keys: Any) -> Attempt:
        command = BinaryCommand(argv=("sh", "-c", _PROGRAMS[act]))
        return self._completed(attempt_of(task, **keys), command)

    def _completed(self, attempt: Attempt, command: BinaryCommand | PythonCall) -> Attempt:
        return msgspec.structs.replace(attempt, command=command, cwd=self._folder, env=_environ())

    async def wait_ready(self, recorder: Recorder, task: str) -> None:
        await recorder.wait_for(
            lambda event: isinstance(event, TaskOutput) and event.task == task and b"ready" in event.data
        )


class PythonBench(LocalBench):
    """Calls in forked workers."""

    def attempt(self, act: str, task: str, **keys: Any) -> Attempt:
        return self._completed(attempt_of(task, **keys), PythonCall(target=f"bench_calls:{act}"))


class PooledBench(LocalBench):
    """Calls in a pool of persistent workers, one after the other in each."""

    async def _equip(self, machinery: Machinery, nursery: trio.Nursery) -> None:
        plan = PoolPlan(
            size=2,
            template=machinery.template,
            env=_environ(),
            setup=None,
            max_requests=None,
            max_memory=None,
            startup_timeout=30.0,
            grace=1.0,
        )
        machinery.pools = Pools(machinery.link, machinery.outputs, {"bench": plan})
        await nursery.start(machinery.pools.serve)

    def attempt(self, act: str, task: str, **keys: Any) -> Attempt:
        return self._completed(attempt_of(task, **keys), PythonCall(target=f"bench_calls:{act}", pool="bench"))


class PortableBench(LocalBench):
    """Programs, where there is neither ``/proc`` nor adoption."""

    portable = True


class PortablePythonBench(PythonBench):
    """Calls in such a place: in workers that are exec'd."""

    portable = True


class PortablePooledBench(PooledBench):
    """A pool in such a place."""

    portable = True


def _environ() -> dict[str, str]:
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return {**os.environ, "PYTHONPATH": root}

"""Carries out an attempt whose command is a Python call: a worker from the template, and the talk with it.

The worker is told what to call only when the host has confirmed its pid, so that nothing of the user's runs before
somebody can end it. Clocks count from the call itself; until then only the imports' limit holds.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from taskrun.config.wording import signal_name
from taskrun.events import TaskMessage
from taskrun.execute.binary import started, unequipped, watch
from taskrun.execute.checkpoint_saver import CheckpointSaver
from taskrun.execute.endings import exit_of
from taskrun.execute.outbox import Outbox
from taskrun.execute.shortages import patiently
from taskrun.execute.sink import Sink
from taskrun.link import HostLost, SpawnError
from taskrun.model import (
    Clock,
    Clocks,
    LookUpFailed,
    NoResult,
    PythonCall,
    Raised,
    Returned,
    Signaled,
    State,
    Stopped,
)
from taskrun.output.samples import Sample, Status
from taskrun.worker import framing, wire

if TYPE_CHECKING:
    from taskrun.events import Emit
    from taskrun.execute.equipment import Equipment
    from taskrun.execute.pump import Stream
    from taskrun.execute.running import Running
    from taskrun.link import Process, Usage
    from taskrun.model import Ending, Outcome

IMPORT_TIMEOUT = 60.0
"""Seconds that a module's import may take: it is not the task's own time, and a hanging one must end somewhere."""


_HUNG_DISK = 10.0  # seconds that an attempt which is over waits for a checkpoint to be written


async def carry_out(
    running: Running, equipment: Equipment, emit: Emit, attempt: type[PythonAttempt] | None = None
) -> Outcome:
    """From the attempt to its outcome; ``attempt`` says in what worker, ``None``: in one of its own."""
    if running.stopping is not None:
        return running.without_process(Stopped(reason=running.stopping.reason))
    call = (attempt or PythonAttempt)(running, equipment, emit)
    try:
        return await call.carry_out()
    except SpawnError as error:
        return running.without_process(error.failure)
    except HostLost as lost:
        return running.lost(f"the process supervising it was lost ({lost})", log=call.sink.log_path)
    finally:
        call.close()


class PythonAttempt:
    """One call: the channel to its worker and what came over it."""

    def __init__(self, running: Running, equipment: Equipment, emit: Emit) -> None:
        assert isinstance(running.attempt.command, PythonCall)
        self.attempt = running.attempt
        self.command = running.attempt.command
        self.running = running
        self.equipment = equipment
        self.emit = emit
        self.sink = Sink(running, equipment, emit)
        self.sink.own_ending = self.own_ending
        self.sink.read_first = self.read_channel
        self._reader = wire.Reader()
        self._channel: Stream | None = None
        self._result: wire.Result | None = None
        self._failure: wire.Failure | None = None
        self._garbled = ""
        self._outbox = Outbox()
        self._calling = False
        self._had_checkpoint = False
        self._saver = CheckpointSaver(equipment.checkpoints, self._checkpoint_key, self._saved)

    async def carry_out(self) -> Outcome:
        """From the attempt to its outcome."""
        try:
            call = self._encoded_call()
        except OverflowError:  # JSON knows such numbers, and results may hold them
            return self.running.without_process(LookUpFailed(message="an argument is a whole number beyond 64 bits"))
        return await self._carry_out(call)

    async def _carry_out(self, call: bytes) -> Outcome:
        try:
            process = await patiently(self._fork, self.running, self.equipment)
        except OSError as error:
            return unequipped(self.running, error)
        self.running.only_clocks(Clocks(timeout=IMPORT_TIMEOUT), name=Clock.IMPORT)
        self.running.begin(process)
        self.running.on_resume = self._tell_time_left
        self.emit(started(self.attempt, process))
        self.sink.listen()
        await self._send(call)
        outcome = await watch(self.running, self.sink, on_tick=lambda: self._outbox.flush(self._channel))
        await self.settle_checkpoints(outcome)
        return outcome

    async def settle_checkpoints(self, outcome: Outcome) -> None:
        """The attempt is over: waits for the disk, and forgets the checkpoints of a task that succeeded."""
        if self._saver.used:
            with trio.move_on_after(_HUNG_DISK):
                await self._saver.finish()
        checkpoints = self.equipment.checkpoints
        if outcome.state is State.SUCCEEDED and checkpoints is not None and (self._saver.used or self._had_checkpoint):
            checkpoints.delete(self._checkpoint_key())

    def close(self) -> None:
        """Closes what is open."""
        if self._channel is not None:
            self._channel.close()
        self.sink.close()

    async def _fork(self) -> Process:
        ours, theirs = socket.socketpair()
        if self._channel is not None:  # of a try before this one
            self._channel.close()
        self._channel = self.equipment.controls.add(ours.detach(), self._heard)
        with theirs:
            out, err = self.sink.open_pipes()
            try:
                return await self.equipment.link.call(
                    self.equipment.template,
                    env=self.sink.environment(),
                    cwd=self.attempt.cwd,
                    channel=theirs.fileno(),
                    stdin=None,
                    stdout=out,
                    stderr=err,
                )
            finally:
                os.close(out)
                os.close(err)

    def _encoded_call(self) -> bytes:
        """What the worker is told to do.

        Raises:
            OverflowError: An argument holds an integer that the wire cannot carry.
        """
        return wire.encode(self.call())

    def call(self, env: dict[str, str | None] | None = None) -> wire.Call:
        """The call; ``env`` is how its variables differ from those of the worker that will get it."""
        restored = None
        if self.equipment.checkpoints is not None and self.equipment.checkpoints.exist:
            restored = self.equipment.checkpoints.load(self._checkpoint_key())
            self._had_checkpoint = restored is not None
        return wire.Call(
            target=self.command.target,
            args=self.command.args,
            kwargs=self.command.kwargs,
            lax=self.command.lax,
            time_left=self.attempt.clocks.timeout,
            restored=restored,
            task=self.attempt.task,
            attempt=self.attempt.number,
            env={} if env is None else env,
            cwd="" if env is None else self.attempt.cwd,
        )

    async def _send(self, data: bytes) -> None:
        assert self._channel is not None
        rest = memoryview(data)
        while rest and not self._channel.closed:
            try:
                rest = rest[os.write(self._channel.fd, rest) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self._channel.fd)
            except OSError:
                return  # the worker is gone; its end says why

    def _send_now(self, message: wire.CheckpointSaved | wire.ClockUpdate) -> None:
        self._outbox.send(self._channel, wire.encode(message))

    def _tell_time_left(self) -> None:
        if self._calling:
            left = self.running.clocks.time_left(self.equipment.clock.now())
            self._send_now(wire.ClockUpdate(time_left=left))

    # --- what the worker says

    def _heard(self, data: bytes) -> None:
        if self._garbled:
            return
        try:
            messages = self._reader.feed(data)
        except framing.Garbled as error:
            self._garbled = str(error)
            return
        now = self.equipment.clock.now()
        for message in messages:
            self._take(message, now)

    def _take(self, message: wire.AnyMessage, now: float) -> None:
        match message:
            case wire.Started():
                self._calling = True
                self.start_clocks(now)
            case wire.Progress(done=done, total=total, message=text):
                self.sink.sample(Sample(current=done, total=total, message=text or None), now)
            case wire.Status(text=text):
                self.sink.sample(Status(text=text), now)
            case wire.Message(level=level, text=text):
                self.emit(TaskMessage(task=self.attempt.task, attempt=self.attempt.number, level=level, text=text))
            case wire.Checkpoint():
                self._saver.save(message)
            case wire.Result():
                self._result = message
            case wire.Failure():
                self._failure = message
            case _:
                self._garbled = f"a {type(message).__name__} from a worker"

    def start_clocks(self, now: float) -> None:
        """The function is about to be called, and its imports are done: the attempt's own clocks count from here."""
        self.running.only_clocks(self.attempt.clocks)
        self.running.started = now
        self.running.wake()

    def _saved(self, number: int, error: str) -> None:
        self._send_now(wire.CheckpointSaved(id=number, error=error))

    def _checkpoint_key(self) -> str:
        """A checkpoint belongs to the task and its arguments."""
        import hashlib

        command = self.command
        owner = [self.attempt.task, command.target, command.args, command.kwargs]
        return hashlib.sha256(msgspec.json.encode(owner, order="sorted")).hexdigest()

    # --- the end

    def read_channel(self) -> None:
        """Takes what still is in the channel: the worker is dead, so that all of it is there."""
        while self._channel is not None and self._channel.read_once():
            pass

    def own_ending(self, usage: Usage) -> tuple[Ending, Any]:
        """How the call ended, and its result, clocks and stops left aside."""
        assert usage.status is not None  # an attempt that cannot be killed is lost, and has no ending of its own
        code, number = exit_of(usage.status)
        if self._failure is not None:
            if self._failure.traceback:
                self.sink.stderr(self._failure.traceback.encode(errors="backslashreplace"))
            return _ending_of(self._failure), None
        if self._garbled:
            return NoResult(why=f"its channel was disturbed: {self._garbled}", code=code), None
        if self._result is None:
            if number is not None:
                return Signaled(signal=number, core_dumped=os.WCOREDUMP(usage.status)), None
            return NoResult(why=f"exited ({code}) before returning a result", code=code), None
        if number is not None:
            return NoResult(why=f"returned, but was then killed by {signal_name(number)}"), None
        return Returned(), msgspec.json.decode(self._result.value)


def _ending_of(failure: wire.Failure) -> Ending:
    match failure.kind:
        case "result" | "exit":
            return NoResult(why=failure.message, code=failure.code)
        case kind:
            return Raised(
                type_names=failure.type_names,
                message=failure.message,
                traceback=failure.traceback,
                retry_after=failure.retry_after,
                kind=kind,
            )

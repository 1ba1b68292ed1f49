"""A worker that runs trio: as ``serving``, but that handlers, state and middleware may be async.

One request after the other here too: which one was in work when a worker dies, or is to be stopped, is never in doubt.
A stop cancels the scope of the handler, and nothing else.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import inspect
import os
import signal
from typing import TYPE_CHECKING, Any, NoReturn

import trio

from taskrun.worker import failures, requests, serving, session
from taskrun.worker.leaving import leave
from taskrun.worker.stopping import Cancelled, interruption

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

    from taskrun.worker.contract import Declared
    from taskrun.worker.session import Session

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MOST_FRAMES = 30  # that are shown of all tasks: no more than the program keeps


def serve(channel: Session, handlers: Declared) -> int:
    """Serves to the end of the channel, or until a stop was asked for; returns the exit status."""
    return trio.run(_serve, channel, handlers)


async def _serve(channel: Session, handlers: Declared) -> int:
    async with contextlib.AsyncExitStack() as stack:
        try:
            arguments = () if handlers.state is None else (await _enter(stack, handlers.state()),)
        except BaseException as error:  # noqa: BLE001 - the user's, whatever it is
            channel.send_frame(requests.encode(requests.Hello(failure=failures.describe(error))))
            return 1
        speaker = serving.RequestSpeaker(channel)
        server = AsyncServer(channel, speaker, handlers, arguments)
        server.listen()
        channel.send_frame(requests.encode(serving.hello(handlers, runs_trio=True)))
        session.begin(speaker)
        try:
            await server.run_async()
        finally:
            session.begin(None)
        serving.say_bye(channel)
    return 0


async def _enter(stack: contextlib.AsyncExitStack, state: Any) -> Any:
    if hasattr(type(state), "__aenter__"):
        return await stack.enter_async_context(state)
    return stack.enter_context(state)


class AsyncServer(serving.Server):
    """The loop over requests, in trio's."""

    def listen(self) -> None:
        """From here on a stop cancels what is in hand, and who asks for a stack gets the tasks' too."""
        self._scope = trio.CancelScope()  # until there is one to stop
        token = trio.lowlevel.current_trio_token()

        def told() -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(self._stop, idempotent=True)

        interruption.told = told
        task = trio.lowlevel.current_task()
        faulthandler.unregister(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, lambda _number, _frame: _show_tasks(task))
        faulthandler.register(signal.SIGUSR1, 2, all_threads=True, chain=True)

    async def run_async(self) -> None:
        """Until nothing more comes, or a stop was asked for."""
        worker = os.getpid()
        frames = requests.Frames(requests.ToWorker)
        while data := await self._receive_async(frames.appetite):
            for message in frames.feed(data):
                if isinstance(message, requests.Leave):
                    return
                if not isinstance(message, requests.Ask):
                    self.learn(message)
                    continue
                answer = await self._carry_out_async(message, worker)
                if not self.reply(message, answer) or interruption.signal:
                    return

    async def _receive_async(self, appetite: int) -> bytes:
        """Waits for more; empty: there is none, or a stop was asked for, which no handler is concerned by."""
        interruption.asked = False  # the next handler may be another one
        with self._stoppable():
            try:
                await trio.lowlevel.wait_readable(self.channel)
            except OSError:
                return b""  # the channel was closed by a handler
            return self.channel.receive_bytes(appetite, self.borrowed)
        return b""

    async def _carry_out_async(self, ask: requests.Ask, worker: int) -> requests.Answer | requests.Refusal:
        prepared = self.prepare(ask)
        if isinstance(prepared, requests.Refusal):
            return prepared
        call, request = prepared
        answer: requests.Answer | requests.Refusal
        try:
            with self._stoppable() as scope:
                value = await call(request)
            if scope.cancelled_caught:
                raise Cancelled(f"stopped by {signal.Signals(interruption.signal).name}")  # noqa: TRY301 - as a sync one
            answer = self.answer(ask, value)
        except BaseException as error:  # noqa: BLE001 - a handler may raise anything
            if os.getpid() == worker:
                await trio.lowlevel.checkpoint_if_cancelled()  # the state is: then the worker ends with it
            answer = serving.refusal(ask, error)
        if os.getpid() != worker:
            _end_of_fork(answer)
        return answer

    def _stoppable(self) -> trio.CancelScope:
        """A scope that a stop cancels, from now on or already."""
        self._scope = trio.CancelScope()
        self._stop()
        return self._scope

    def _stop(self) -> None:
        if interruption.signal and not interruption.asked:
            self._scope.cancel()

    @staticmethod
    def wrapped(
        function: Callable[..., Any], middleware: tuple[Callable[..., Any], ...], arguments: tuple[Any, ...]
    ) -> Callable[[Any], Awaitable[Any]]:
        """See ``Server``."""
        is_async = inspect.iscoroutinefunction(function)

        async def call(request: Any) -> Any:
            if is_async:
                return await function(request, *arguments)
            return await _settled(serving.interruptible(function, request, *arguments))

        for layer in reversed(middleware):
            call = functools.partial(_through, layer, call)
        return call


async def _through(layer: Callable[..., Any], call: Callable[[Any], Awaitable[Any]], request: Any) -> Any:
    return await _settled(layer(request, call))


async def _settled(value: Any) -> Any:
    """What a function returned that may be async."""
    return await value if inspect.isawaitable(value) else value


def _end_of_fork(answer: requests.Answer | requests.Refusal) -> NoReturn:
    """Ends a process that a handler forked. trio's loop is its parent's: to leave it here would stop it there."""
    status = serving.end_of_fork(answer)
    leave()
    os._exit(status)


def _show_tasks(root: trio.lowlevel.Task) -> None:
    """Writes where the tasks are that wait, which no stack of a thread shows; in the form of ``faulthandler``."""
    lines: list[str] = []
    tasks = [root]
    while tasks:
        task = tasks.pop()
        for nursery in task.child_nurseries:
            tasks[:0] = nursery.child_tasks
        frames = [(frame, line) for frame, line in task.iter_await_frames() if not _is_own(frame)]
        if frames:
            lines.append(
                f"{requests.TASKS} {'of the handler' if task is root else task.name} (most recent call first):"
            )
            lines += [_place(frame, line) for frame, line in reversed(frames)]
    if not lines:
        lines.append(f"{requests.TASKS}: none waits")
    with contextlib.suppress(OSError):
        os.write(2, "".join(f"{line}\n" for line in lines[:_MOST_FRAMES]).encode("utf-8", "replace"))


def _is_own(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_OWN)


def _place(frame: FrameType, line: int) -> str:
    return f'  File "{frame.f_code.co_filename}", line {line} in {frame.f_code.co_qualname}'

"""A ``concurrent.futures.Executor`` over a pool of workers, for programs that are not written for trio.

The pool and its trio loop live in a thread of the executor's own, which this module starts and never is.
"""

from __future__ import annotations

import itertools
import time
import weakref
from concurrent import futures
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from taskrun.host.cpus import usable_cpus
from taskrun.worker import main_module
from taskrun.worker.callables import call_each, setup_of
from taskrun.workers import checking
from taskrun.workers.calling import CallFuture, Wanted
from taskrun.workers.engine import Engine
from taskrun.workers.plan import Plan, is_of_main
from taskrun.workers.settings import Settings, Timeouts

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from multiprocessing.context import BaseContext

P = ParamSpec("P")
T = TypeVar("T")

_UNSET: Any = object()


class Executor(futures.Executor):
    """Calls functions in worker processes; a drop-in for ``concurrent.futures.ProcessPoolExecutor``.

    A worker that dies costs the one call that it had in hand, and calls can be ended. Nothing is started before the
    first call; then a thread, in which trio runs, and the workers.

    Args:
        max_workers: ``None``: as many as there are CPUs for this process.
        mp_context: For compatibility: workers are forked from a process of their own that holds nothing of the
            program, as with ``"forkserver"``, which is accepted, and so is ``"spawn"``.
        initializer: Called once in each worker. If it fails, the pool is broken, and says so.
        initargs: For it.
        max_tasks_per_child: After so many calls a worker is replaced; ``None``: never.
        timeout: Seconds that a call may take, from when it begins; then it is ended, and its future fails with
            ``CallTimedOut``. ``None``: no limit.
        kill_on_cancel: ``future.cancel()`` ends a call that runs; without it, it returns ``False``, as usual.
        grace: Seconds between asking a worker to stop and killing it.
        startup_timeout: Seconds that a worker may take to be ready, imports and initializer included.
        prefetch: Calls that a worker has at once. More than one saves time between tiny calls; one behind a long
            call waits for it, even where another worker is free.
        idle_timeout: Seconds without work after which all but one worker are let go. ``None``: never.
        max_memory: Bytes resident, above which a worker is replaced after its call.
        preload: Modules that are imported once and shared by all workers.

    Raises:
        ValueError: A number is out of range, or ``mp_context`` is one of ``"fork"``.
        TypeError: Something is of the wrong type.
        Exception: The initializer or its arguments cannot be pickled.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        timeout: float | None = None,
        kill_on_cancel: bool = False,
        grace: float = 5.0,
        startup_timeout: float | None = 60.0,
        prefetch: int = 1,
        idle_timeout: float | None = None,
        max_memory: int | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        _refuse_bad(max_workers, max_tasks_per_child, initializer)
        checking.seconds("timeout", timeout, optional=True)
        checking.refuse_bad_preload(preload)
        _refuse_fork(mp_context)
        self._max_workers = usable_cpus() if max_workers is None else max_workers
        main = main_module.of_program()
        plan = Plan(
            settings=Settings(
                size=self._max_workers,
                timeouts=Timeouts(startup=startup_timeout),
                prefetch=prefetch,
                max_requests=max_tasks_per_child,
                max_memory=max_memory,
                idle_timeout=idle_timeout,
                grace=grace,
            ),
            timeout=timeout,
            kill_on_cancel=kill_on_cancel,
            preload=tuple(preload),
            setup=setup_of(main, initializer, tuple(initargs)),
            main=main,
            main_first=is_of_main(initializer),
        )
        checking.refuse_bad_settings(plan.settings)
        self._engine = Engine(plan)
        weakref.finalize(self, self._engine.release).atexit = False

    @property
    def _broken(self) -> str | bool:
        """Why it is, as CPython's has it; ``False``: it is not."""
        return False if self._engine.failure is None else str(self._engine.failure)

    # --- calls --------------------------------------------------------------------------------------------------------

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> futures.Future[T]:
        """Has ``fn(*args, **kwargs)`` called in a worker. They and what is returned are pickled.

        Raises:
            RuntimeError: The executor was shut down, or belongs to the process that forked this one.
            BrokenProcessPool: Its workers cannot be started.
        """
        return self._submit(fn, args, kwargs, self._engine.plan.timeout)

    def schedule(
        self,
        fn: Callable[..., T],
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        timeout: float | None = _UNSET,
    ) -> futures.Future[T]:
        """As ``submit``, with a ``timeout`` of its own; ``None``: no limit.

        Raises:
            TypeError: ``timeout`` is no number.
            ValueError: It is negative.
        """
        limit = self._engine.plan.timeout if timeout is _UNSET else timeout
        checking.seconds("timeout", limit, optional=True)
        return self._submit(fn, tuple(args), dict(kwargs or {}), limit)

    def _submit(
        self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> futures.Future[Any]:
        if main_module.running:
            raise RuntimeError(
                "this program's main module is being run in a worker, to find what is defined in it, and came to a "
                'call of an executor: put what is to run only once under `if __name__ == "__main__":`'
            )
        future: CallFuture[Any] = CallFuture(self._engine)
        self._engine.submit(Wanted(future, function, args, kwargs, timeout))
        return future

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[T]:
        """Calls ``fn`` with one value of each iterable at a time; an iterator of what it returns, in order.

        Args:
            fn: Called in workers.
            iterables: Taken from at once, but for ``buffersize``; the shortest ends it.
            timeout: Seconds from now in which a result must have come, or the iterator raises ``TimeoutError``.
            chunksize: Values that go to a worker at once: it saves time, and a crash costs all of them. The
                executor's own ``timeout`` is for each of them.
            buffersize: Chunks under way that have not been asked for; further values are taken when they have.
                ``None``: all at once.

        Raises:
            ValueError: ``chunksize`` or ``buffersize`` is below 1.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        end = None if timeout is None else time.monotonic() + timeout
        values = zip(*iterables)  # noqa: B905 - the shortest ends it, as with `map`
        if chunksize == 1:
            submit = _Submit(self, fn, chunksize)
            return _results(submit.fill(values, buffersize), values, submit, end)
        chunks = iter(lambda: tuple(itertools.islice(values, chunksize)), ())
        submit = _Submit(self, fn, chunksize)
        return itertools.chain.from_iterable(_results(submit.fill(chunks, buffersize), chunks, submit, end))

    def kill(self, future: futures.Future[Any]) -> bool:
        """Cancels one of this executor's futures, and ends its work if it runs.

        Returns:
            Whether it is cancelled; ``False``: it was done.

        Raises:
            ValueError: It is another executor's.
        """
        if not isinstance(future, CallFuture) or future.engine is not self._engine:
            raise ValueError("this future is not of this executor")
        return future.kill()

    # --- the end ------------------------------------------------------------------------------------------------------

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - the base's
        """Takes nothing more, finishes what was submitted, and ends the workers.

        Args:
            wait: Return when that is done.
            cancel_futures: What no worker has got yet is cancelled.
        """
        self._engine.shut(cancelling=cancel_futures)
        if wait:
            self._engine.join()

    def terminate_workers(self) -> None:
        """Asks the workers to end, and kills them after the grace period; what is not done fails or is cancelled."""
        self._engine.terminate()

    def kill_workers(self) -> None:
        """Kills the workers at once; what is not done fails or is cancelled."""
        self._engine.kill()


class _Submit:
    """Submits for ``map``, as long as the executor is there: an iterator that waits must not keep it alive."""

    def __init__(self, executor: Executor, function: Callable[..., Any], chunksize: int) -> None:
        self._executor = weakref.ref(executor)
        self._function = function
        self._chunksize = chunksize

    def fill(self, source: Iterator[tuple[Any, ...]], most: int | None) -> deque[futures.Future[Any]]:
        """The first futures: ``most`` of them, or all."""
        from collections import deque

        under_way: deque[futures.Future[Any]] = deque()
        for values in itertools.islice(source, most):
            self.another(values, under_way)
        return under_way

    def another(self, values: tuple[Any, ...], under_way: deque[futures.Future[Any]]) -> None:
        """One more, if there still is an executor."""
        executor = self._executor()
        if executor is None:
            return
        if self._chunksize == 1:
            under_way.append(executor.submit(self._function, *values))
        else:
            limit = executor._engine.plan.timeout  # noqa: SLF001 - this is its other half
            limit = None if limit is None else limit * len(values)
            under_way.append(executor.schedule(call_each, (self._function, values), timeout=limit))


def _results(
    under_way: deque[futures.Future[Any]], source: Iterator[tuple[Any, ...]], submit: _Submit, end: float | None
) -> Iterator[Any]:
    """The results in order; where one fails or nobody wants more, the others are cancelled."""
    try:
        while under_way:
            under_way[0].exception(None if end is None else end - time.monotonic())
            for values in itertools.islice(source, 1):
                submit.another(values, under_way)
            yield under_way.popleft().result()  # nothing here holds on to it
    finally:
        for future in under_way:
            future.cancel()


def _refuse_bad(max_workers: int | None, max_tasks_per_child: int | None, initializer: object | None) -> None:
    """What CPython refuses, in its words.

    Raises:
        ValueError: A number is out of range.
        TypeError: Something is of the wrong type.
    """
    if max_workers is not None and max_workers <= 0:
        raise ValueError("max_workers must be greater than 0")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    if max_tasks_per_child is not None:
        if not isinstance(max_tasks_per_child, int):
            raise TypeError("max_tasks_per_child must be an integer")
        if max_tasks_per_child <= 0:
            raise ValueError("max_tasks_per_child must be >= 1")


def _refuse_fork(mp_context: BaseContext | None) -> None:
    if mp_context is not None and mp_context.get_start_method(allow_none=True) == "fork":
        raise ValueError(
            'mp_context is one of "fork", whose workers would have what the program has in memory; these never do. '
            'Leave it out, and pass what they need with `initializer`, or give `get_context("forkserver")`'
        )

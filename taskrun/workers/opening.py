"""Opens pools of typed workers in a trio program of one's own: no signal handler, no subreaper, no thread."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

import trio
from trio.lowlevel import enable_ki_protection

from taskrun.host.cpus import usable_cpus
from taskrun.link import TemplateSpec, open_link
from taskrun.workers.birthplace import Birthplace
from taskrun.workers.checking import (
    refuse_bad_preload,
    refuse_bad_settings,
    refuse_bad_target,
    refuse_endless_workers,
)
from taskrun.workers.clerk import Clerk
from taskrun.workers.errors import WorkerStartFailed
from taskrun.workers.pool import Pool
from taskrun.workers.settings import Restarts, RetryOnCrash, Settings, Timeouts
from taskrun.workers.staff import Staff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    from taskrun.worker.contract import Request
    from taskrun.workers.member import Engage


@contextlib.asynccontextmanager
async def open_pool(
    target: str,
    *,
    size: int | None = None,
    preload: Sequence[str] = (),
    python: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 - a frozen value
    middleware: Sequence[Callable[..., Any]] = (),
    on_crash: RetryOnCrash | Mapping[type[Request[Any]], RetryOnCrash] | None = None,
    max_queue: int | None = None,
    prefetch: int = 1,
    max_requests: int | None = None,
    max_memory: int | None = None,
    idle_timeout: float | None = None,
    spares: int = 0,
    grace: float = 5.0,
    restarts: Restarts = Restarts(),  # noqa: B008 - a frozen value
) -> AsyncIterator[Pool]:
    """Opens a pool; the workers have ended when the block has.

    Leaving the block normally finishes what was accepted (``close()``); leaving it by an exception or a cancellation
    kills the workers (``close(finish=0)``).

    Args:
        target: ``module:name`` of a ``Handlers``; imported in the workers, not here.
        size: Workers; ``None``: as many as there are CPUs for this process.
        preload: Modules that are imported once and shared by all workers, beside the target's own.
        python: Their interpreter; ``None``: this one.
        env: Their environment; ``None``: this process's.
        cwd: Their folder; ``None``: this process's.
        timeouts: Of starting, and of work on a request.
        middleware: Wraps every request, the first outermost: called with the request and an async function that goes
            on to the next; sync or async, it returns the result.
        on_crash: What becomes of a request whose worker died: it is retried (all, or by class), or fails.
        max_queue: Requests that may wait; beyond it ``send`` waits and ``send_nowait`` fails. ``None``: any number.
        prefetch: Requests that a worker has at once. It works on one at a time; more than one saves the way to and
            fro for tiny handlers, and a crash costs nothing but the one in work.
            One whose sender is cancelled while it is behind another still begins, and is then ended.
        max_requests: After so many a worker is replaced.
        max_memory: Bytes resident, above which a worker is replaced after its request.
        idle_timeout: Seconds without work after which all but one worker are let go; they are started again when
            needed. ``None``: never.
        spares: Workers that stand by, ready, to take the place of one that ends.
        grace: Seconds between asking a worker to stop and killing it.
        restarts: How many crashes are too many.

    Raises:
        WorkerStartFailed: No worker could be started.
        TypeError: A setting is of the wrong type.
        ValueError: A number is out of range, or the target is no ``module:name``.
        RuntimeError: The handlers' module opens it, where it is imported for workers.
    """
    refuse_endless_workers()
    refuse_bad_target(target)
    refuse_bad_preload(preload)
    settings = Settings(
        size=usable_cpus() if size is None else size,
        timeouts=timeouts,
        middleware=tuple(middleware),
        on_crash=on_crash,
        max_queue=max_queue,
        prefetch=prefetch,
        max_requests=max_requests,
        max_memory=max_memory,
        idle_timeout=idle_timeout,
        spares=spares,
        grace=grace,
        restarts=restarts,
    )
    refuse_bad_settings(settings)
    environ = {os.fsdecode(name): os.fsdecode(value) for name, value in (os.environ if env is None else env).items()}
    template = template_of(target, None if python is None else os.fspath(python), preload, folder_of(cwd), environ)
    async with open_staffed(target, template, environ, settings) as pool:
        yield pool


@contextlib.asynccontextmanager
@enable_ki_protection
async def open_staffed(
    target: str,
    template: TemplateSpec,
    environ: dict[str, str],
    settings: Settings,
    *,
    setup: bytes = b"",
    engage: Engage = Clerk,
) -> AsyncIterator[Pool]:
    """``open_pool`` with all that it needs; ``setup`` and ``engage`` are for handlers and workers of taskrun's own.

    A KeyboardInterrupt is raised in the program's own tasks and not in those of the pool, which have to end workers.
    """
    failure: BaseException | None = None
    stdout = 2 if sys.__stdout__ is None else 1  # a program may have been started without
    async with open_link(adopt=False) as link, trio.open_nursery() as around:
        birthplace = Birthplace(
            link, template, target, env=environ, startup=settings.timeouts.startup, stdout=stdout, setup=setup
        )
        with trio.CancelScope(shield=True):
            nursery = await around.start(_shelter)  # from here to the next `try` nothing may fail: nothing else ends it
        staff = Staff(birthplace, nursery, settings, engage)
        pool = Pool(target, nursery, settings, staff)
        try:
            await staff.start()
            yield pool
            await pool.close()
        except BaseException as error:  # noqa: BLE001 - raised again below: not in an ExceptionGroup of one
            failure = error
            with trio.CancelScope(shield=True):
                try:
                    await pool.close(finish=0)
                except KeyboardInterrupt as interrupt:  # another one: all has been killed by now
                    failure = interrupt
        finally:
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


class WorkerSettings(TypedDict, total=False):
    """What ``open_worker`` takes: all of ``open_pool`` but the size. Each is described there."""

    preload: Sequence[str]
    python: str | os.PathLike[str] | None
    env: Mapping[str, str] | None
    cwd: str | os.PathLike[str] | None
    timeouts: Timeouts
    middleware: Sequence[Callable[..., Any]]
    on_crash: RetryOnCrash | Mapping[type[Request[Any]], RetryOnCrash] | None
    max_queue: int | None
    prefetch: int
    max_requests: int | None
    max_memory: int | None
    idle_timeout: float | None
    spares: int
    grace: float
    restarts: Restarts


@enable_ki_protection
async def _shelter(task_status: trio.TaskStatus[trio.Nursery]) -> None:
    """A nursery that a cancellation of the block does not reach: the pool ends its workers, and who waits is told."""
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            task_status.started(nursery)
            await trio.sleep_forever()


@contextlib.asynccontextmanager
async def open_worker(target: str, **settings: Unpack[WorkerSettings]) -> AsyncIterator[Pool]:
    """Opens a pool of one worker, whose state lasts from request to request.

    Takes what ``open_pool`` takes, but no size.

    Raises:
        WorkerStartFailed: It could not be started.
    """
    async with open_pool(target, size=1, **settings) as pool:
        yield pool


_OURS = ("taskrun.worker.loading", "taskrun.worker.serving")  # else each worker would import them anew


def folder_of(cwd: str | os.PathLike[str] | None) -> str:
    """The workers' folder; ``None``: this process's.

    Raises:
        WorkerStartFailed: It is not there.
    """
    try:
        place = os.getcwd() if cwd is None else os.path.abspath(os.fspath(cwd))
    except FileNotFoundError:
        raise WorkerStartFailed("spawn", "this process's folder is not there any more") from None
    if not os.path.isdir(place):
        raise WorkerStartFailed("spawn", f"the workers' folder is not there: {place}")
    return place


def template_of(
    target: str, python: str | None, preload: Sequence[str], cwd: str, environ: dict[str, str]
) -> TemplateSpec:
    """Where the workers are forked from. An interpreter of its own has a path of its own."""
    here = os.path.abspath(cwd)
    own = tuple(os.path.abspath(entry) for entry in sys.path)
    return TemplateSpec(
        python=python,
        sys_path=own if python is None else (here,),
        cwd=here,
        preload=(*preload, target.partition(":")[0], *_OURS),
        env=environ,
    )

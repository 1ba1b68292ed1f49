"""The thread of an ``Executor``, in which trio and the pool run, and the calls on their way between it and the others.

It holds no reference to the executor, so that one that nobody has any more can be noticed.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from taskrun.worker.callables import TARGET
from taskrun.workers.calling import Order, Wanted, again, broken, refuse, settle
from taskrun.workers.errors import PoolClosed, WorkersError, WorkerStartFailed
from taskrun.workers.lending import Lending, give_next
from taskrun.workers.opening import folder_of, open_staffed, template_of
from taskrun.workers.plan import is_of_main, with_main

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures.process import BrokenProcessPool

    from taskrun.workers.calling import CallFuture
    from taskrun.workers.lending import LentClerk
    from taskrun.workers.plan import Plan
    from taskrun.workers.staff import Staff

LOGGER = logging.getLogger("concurrent.futures")
_ASK = 1e-6  # seconds that running calls get before they are asked to stop


class Engine:
    """What does an executor's work. Its methods may be called from any thread, but for those that say otherwise."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.kill_on_cancel = plan.kill_on_cancel
        self.pid = os.getpid()
        self.thread: threading.Thread | None = None
        self.failure: BrokenProcessPool | None = None
        self._lock = threading.RLock()  # a collection of garbage may call anything, in the middle of anything
        self._lending = Lending(self._lock, self._answered, lambda clerk, data: self._tell(clerk.send_rest, data))
        self._lends = plan.settings.idle_timeout is None  # else an idle worker is let go
        self._wanted: deque[Wanted] = deque()
        self._token: trio.lowlevel.TrioToken | None = None
        self._woken = False
        self._why_closed = ""  # nothing is taken any more
        self._cancelling = False  # what no worker has got is not to be done
        self._finish: float | None = None  # as of `Pool.close`; not `None`: at once
        self._numbers = itertools.count(1)
        self._most = plan.settings.size * plan.settings.prefetch
        # Of the thread:
        self._orders: set[Order] = set()
        self._early: list[Order] = []  # for when the pool is open
        self._done: deque[Order] = deque()  # whose futures are still to hear of it
        self._staff: Staff | None = None
        self._over = trio.Event()
        self._opening = trio.CancelScope()
        self._main_first = plan.main_first

    # --- what others want ---------------------------------------------------------------------------------------------

    def submit(self, wanted: Wanted) -> None:
        """Has a call carried out.

        Raises:
            RuntimeError: It comes too late, or from a process that was forked.
            BrokenProcessPool: The pool has given up.
        """
        if self.pid != os.getpid():
            raise RuntimeError("this executor belongs to the process that made it, and not to its forks: make one here")
        self._refuse_if_over()
        hurries = len(self._lending) > 0 and wanted.timeout is None
        if hurries and not self._encode(wanted):
            return
        with self._lock:
            self._refuse_if_over()
            if self.thread is None:
                self._start(wanted)
            if hurries and not self._wanted and self._lend_to(wanted):
                return
            self._wanted.append(wanted)
            if self._woken or len(self._orders) >= self._most:  # who frees a place looks for it
                return
            self._woken = True
        self._tell(self._wake)

    def _refuse_if_over(self) -> None:
        """Where nothing is taken any more, says so."""
        if self.failure is not None:
            raise again(self.failure)
        if _exiting:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")
        if self._why_closed:
            raise RuntimeError(self._why_closed)

    def _encode(self, wanted: Wanted) -> bool:
        """Whether it can be sent; if not, its future says why."""
        try:
            wanted.encode()
        except BaseException as error:  # noqa: BLE001 - a class of the user's; it fails this call and nothing else
            refuse(wanted.future, error)
            return False
        return True

    def _lend_to(self, wanted: Wanted) -> bool:
        """Gives it to an idle worker, here and now; whether there is one."""
        if not self._lending.can_take(wanted.body):
            return False
        order = Order(next(self._numbers), wanted, self)
        wanted.future.set_running_or_notify_cancel()
        self._orders.add(order)
        try:
            self._lending.give(order)  # last: the answer may be there at once
        except BaseException:  # a Ctrl-C
            if not order.attempt:
                self._orders.discard(order)
            raise
        return True

    def shut(
        self,
        why: str = "cannot schedule new futures after shutdown",
        *,
        cancelling: bool = False,
        finish: float | None = None,
    ) -> None:
        """Takes nothing more, and ends when all is done.

        Args:
            why: For those who come later.
            cancelling: What no worker has got is cancelled.
            finish: As of ``Pool.close``; not ``None``: running calls are ended.
        """
        if self.pid != os.getpid():
            return
        with self._lock:
            self._close(why, cancelling=cancelling, finish=finish)
        self._tell(self._wake)

    def kill(self) -> None:
        """Ends all workers at once, with what they do."""
        self.shut(cancelling=True, finish=0)

    def terminate(self) -> None:
        """Asks all workers to end, and kills them after the grace period."""
        self.shut(cancelling=True, finish=_ASK)

    def release(self) -> None:
        """As ``shut``, for a garbage collection: it may happen in the middle of anything, so nothing is locked."""
        if self.pid == os.getpid():
            self._close("cannot schedule new futures after shutdown", cancelling=False, finish=None)
            self._tell(self._wake)

    def _close(self, why: str, *, cancelling: bool, finish: float | None) -> None:
        self._why_closed = self._why_closed or why
        self._cancelling = self._cancelling or cancelling
        if finish is not None:
            self._finish = finish if self._finish is None else min(finish, self._finish)

    def join(self) -> None:
        """Waits until all is done and the workers are gone. A callback that runs in the thread does not wait."""
        thread = self.thread
        if thread is not None and self.pid == os.getpid() and thread is not threading.current_thread():
            thread.join()

    def end_work(self, future: CallFuture[Any]) -> None:
        """A future was cancelled while it ran: its work is ended."""
        self._tell(self._end_work, future)

    def _tell(self, what: Callable[..., object], *arguments: Any) -> None:
        token = self._token
        if token is None:
            return  # it looks for itself when it begins
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(what, *arguments)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _start(self, first: Wanted) -> None:
        """Starts it; what the program is like now, holds for all workers."""
        self._main_first = self.plan.main_first or is_of_main(first.called)
        thread = threading.Thread(target=self._live, name="taskrun executor")
        with _registering:
            _engines.add(self)
        try:
            thread.start()
        except BaseException:  # at the interpreter's end
            with _registering:
                _engines.discard(self)
            raise
        self.thread = thread

    def _live(self) -> None:
        failure: BaseException = PoolClosed("the executor's workers were ended")
        try:
            trio.run(self._run)
        except BaseException as error:  # noqa: BLE001 - whoever waits for a future must be told, whatever it is
            failure = error
            if isinstance(error, WorkerStartFailed) and error.kind == "state":
                LOGGER.critical("Exception in initializer:\n%s", error.traceback or error)
        finally:
            self._leave(failure)

    async def _run(self) -> None:
        plan = self.plan
        environ = dict(os.environ)
        template = template_of(TARGET, None, plan.preload, folder_of(None), environ)
        if self._main_first and len(plan.main) > 1:
            template = with_main(template, plan.main)
        self._token = trio.lowlevel.current_trio_token()
        with self._opening:
            if self._finish is None:
                self._feed()
                async with open_staffed(
                    TARGET, template, environ, plan.settings, setup=plan.setup, engage=self._lending.engage
                ) as pool:
                    self._begin(pool._staff)  # noqa: SLF001 - tickets of its own spare a task for each call
                    await self._over.wait()
                    await pool.close(self._finish)

    def _leave(self, failure: BaseException) -> None:
        """The thread ends: what is not done never will be."""
        self._lending.take_back(None)
        with self._lock:
            if not self._why_closed and self.failure is None:
                self.failure = broken(failure)
            self._why_closed = self._why_closed or "cannot schedule new futures after shutdown"
            self._staff = None
        why = self.failure or broken(failure)
        self._refuse(why)
        for order in list(self._orders):
            settle(order.future, None, again(why))
        self._orders.clear()
        with _registering:
            _engines.discard(self)

    # --- in the thread ------------------------------------------------------------------------------------------------

    def _begin(self, staff: Staff) -> None:
        """The pool is open."""
        self._staff = staff
        for order in self._early:
            if not order.settled:
                staff.submit(order)
        self._early.clear()
        self._wake()

    def _wake(self) -> None:
        self._woken = False
        self._feed()  # first: what there is room for has begun, however soon the executor was shut down
        if self._cancelling:
            self._cancel_wanted()
        self._look_for_the_end()

    def _feed(self) -> None:
        """Gives the pool as many calls as it has places; so those that wait can still be cancelled."""
        if self._wanted and len(self._lending):
            self._lending.take_back(self._staff)
        while self._wanted and len(self._orders) < self._most:
            order = self._order(self._wanted.popleft())
            if order is not None:
                self._hand_over(order)

    def _hand_over(self, order: Order, clerk: LentClerk | None = None) -> None:
        """Has it carried out, by that worker if there is one."""
        self._orders.add(order)
        if self._staff is None:
            self._early.append(order)
            return
        try:
            self._staff.refuse_if_over()
        except WorkersError as failure:
            self._break(failure)
            order.fail(failure)
            return
        if clerk is not None and clerk.listed and not self._staff.queue:
            give_next(clerk, order, self._staff)
        else:
            self._staff.submit(order)

    def _order(self, wanted: Wanted) -> Order | None:
        """The order for a call; ``None``: it was cancelled, or cannot be sent."""
        if wanted.future.cancelled():
            wanted.future.set_running_or_notify_cancel()
            return None
        if not self._encode(wanted) or not wanted.future.set_running_or_notify_cancel():
            return None
        return Order(next(self._numbers), wanted, self)

    def settled(self, order: Order) -> None:
        """An order has come to its end: another takes its place, and then its future hears of it."""
        self._orders.discard(order)
        self._done.append(order)
        if not self._lending.listening:  # else that comes when the worker can be given the next
            self._feed()
            self._tell_futures()

    def _answered(self, clerk: LentClerk) -> None:
        """A worker has said something, an answer most likely: it gets the next call, or is lent."""
        if self._wanted and len(self._orders) < self._most:
            order = self._order(self._wanted.popleft())
            if order is not None:
                self._hand_over(order, clerk)
            self._feed()
        elif self._lends and not self._wanted and self._staff is not None:
            with self._lock:
                if not self._wanted and not self._why_closed:
                    self._lending.lend(clerk, self._staff)
        self._tell_futures()

    def _tell_futures(self) -> None:
        while self._done:
            order = self._done.popleft()
            value, failure = order.outcome()
            settle(order.future, value, failure)
            del value, failure, order  # nothing here holds on to what is not ours
        if self._why_closed:
            self._look_for_the_end()

    def _end_work(self, future: CallFuture[Any]) -> None:
        order = future.order
        if order is None or order.settled:
            return
        order.unwanted = True
        if self._staff is None or self._staff.withdraw(order):
            order.settled = True
            self._orders.discard(order)
            self._wake()

    def _break(self, failure: BaseException) -> None:
        """The pool has given up: so does the executor, when what still runs is done."""
        with self._lock:
            if self.failure is None:
                self.failure = broken(failure)
        self._refuse(self.failure)
        self._over.set()

    def _refuse(self, failure: BrokenProcessPool) -> None:
        while self._wanted:
            refuse(self._wanted.popleft().future, again(failure))

    def _cancel_wanted(self) -> None:
        while self._wanted:
            future = self._wanted.popleft().future
            future.cancel()
            future.set_running_or_notify_cancel()

    def _look_for_the_end(self) -> None:
        if self._finish is not None:
            self._over.set()
            if self._staff is None:
                self._opening.cancel()
        elif self._why_closed and not self._wanted and not self._orders:
            self._over.set()


# --- the interpreter's end, and forks ---------------------------------------------------------------------------------

_engines: set[Engine] = set()  # whose threads run
_registering = threading.Lock()
_exiting = False


def _finish_all() -> None:
    """Before Python waits for threads: as with CPython's executors, what was submitted is done."""
    global _exiting  # noqa: PLW0603 - there is one interpreter
    _exiting = True
    with _registering:
        engines = list(_engines)
    for engine in engines:
        engine.shut("cannot schedule new futures after interpreter shutdown")
    for engine in engines:
        engine.join()


def _forget_all() -> None:
    """In a fork: the threads are not here, and the lock may be held for ever."""
    global _registering  # noqa: PLW0603 - a new one
    _registering = threading.Lock()
    _engines.clear()


threading._register_atexit(_finish_all)  # type: ignore[attr-defined]  # noqa: SLF001 - as concurrent.futures does; atexit comes too late
os.register_at_fork(after_in_child=_forget_all)

"""One attempt under way: its clocks, the stop ladder, and how its end becomes an outcome.

What kind of process it is, and where its output goes, is the affair of the modules that make a ``Running``.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import trio

from taskrun.execute.clocks import AttemptClocks
from taskrun.execute.endings import exit_of, from_status, reason_of, state_of
from taskrun.model import ClockHit, Lost, Outcome, SpawnFailed, State, Stopped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from taskrun.execute.clocks import RunClock
    from taskrun.link import Usage
    from taskrun.model import Attempt, Clock, Clocks, Ending, StopRequest

# A killed process that does not die is in uninterruptible sleep. The host reports it after 5 s; this is for the case
# that it does not.
_UNKILLABLE = 8.0
_NEVER = float("inf")


def _nothing() -> None:
    """Default of ``on_resume`` and ``on_tick``."""


class WatchedProcess(Protocol):
    """A process under way, whoever its parent is."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    async def wait(self) -> Usage:
        """Waits for its end and the end of what it left; may be called again after a cancel."""
        ...

    async def wait_news(self) -> Usage | None:
        """As ``wait``, but returns ``None`` when ``wake`` was called before the end."""
        ...

    def wake(self) -> None:
        """Lets whoever waits for news see how it stands."""
        ...


class Control(Protocol):
    """Whoever can signal that process."""

    def stop(self, process: Any, number: int) -> None:
        """Sends the signal, and CONT, to all of it."""
        ...

    def kill(self, process: Any) -> None:
        """Kills all of it."""
        ...


class Running:
    """The process of one attempt, from its start to its outcome.

    Attributes:
        clocks: Fed by whoever sees output and progress.
        control: Carries out stops.
        on_resume: Called when the run goes on after a suspension.
        on_tick: Called several times a second.
        describe: Called once when a clock has run out, before anything is stopped: writes what the process is doing
            to the attempt's log.

    Args:
        explain: Adds what is known of an ending that was nobody's wish.
    """

    def __init__(
        self,
        attempt: Attempt,
        control: Control,
        clock: RunClock,
        explain: Callable[[Ending], Ending] = lambda ending: ending,
    ) -> None:
        now = clock.now()
        self.attempt = attempt
        self.clocks = AttemptClocks(attempt.clocks, now)
        self.describe: Callable[[Any, ClockHit], Awaitable[None]] | None = None
        self.on_resume: Callable[[], None] = _nothing
        self.on_tick: Callable[[], None] = _nothing
        self.process: WatchedProcess | None = None
        self.started = now
        self.gone = False  # the end was seen: too late to stop it
        self.control = control
        self._clock = clock
        self._explain = explain
        self._scope: trio.CancelScope | None = None
        self._request: StopRequest | None = None
        self._asked: StopRequest | None = None
        self._hit: tuple[Clock, float] | None = None
        self._clock_name: Clock | None = None
        self._kill_at = _NEVER
        self._killed = False

    # --- from outside

    @property
    def stopping(self) -> StopRequest | None:
        """The strongest request so far."""
        return self._request

    def stop(self, request: StopRequest) -> None:
        """Asks for its end. The stronger reason and the sooner kill win; too late is no mistake."""
        old = self._request
        if self.gone or (old is not None and request.reason.kind < old.reason.kind):
            return
        self._request = request
        self.wake()

    def wake(self) -> None:
        """Lets the attempt look at its clocks and requests again."""
        if self._scope is not None:
            self._scope.cancel()
        elif self.process is not None:
            self.process.wake()

    # --- the attempt's own task

    @contextlib.contextmanager
    def until_stopped(self, patience: float) -> Iterator[None]:
        """For what is done before there is a process: left after ``patience`` seconds, or when a stop is asked for."""
        self._scope = trio.CancelScope(deadline=trio.current_time() + patience)
        try:
            with self._scope:
                yield
        finally:
            self._scope = None

    def begin(self, process: WatchedProcess) -> None:
        """The process exists: the clocks count from here."""
        self.process = process
        self.started = self._clock.now()
        self.clocks.restart(self.started)

    def only_clocks(self, limits: Clocks, *, name: Clock | None = None) -> None:
        """Other limits than the attempt's: of what cannot be watched, or while it does not count yet.

        Args:
            limits: From now on.
            name: What they are called when one runs out; ``None``: by their own names.
        """
        self._clock_name = name
        now, held = self._clock.now(), self.clocks.held
        self.clocks = AttemptClocks(limits, now)
        if held:
            self.clocks.hold(now)

    async def wait_end(self) -> Usage:
        """Waits for the end of the process and all that it left, keeping the clocks and carrying out stop requests.

        Raises:
            HostLost: The supervising process died.
        """
        process = self.process
        assert process is not None
        while True:
            if self._request is not None and self._request is not self._asked:
                self._ask_because(self._request)
            usage = None
            until = self._next_look()
            if until == _NEVER:
                usage = await process.wait_news()
            else:
                with trio.CancelScope(deadline=self._clock.real(until)):
                    usage = await process.wait_news()
            if usage is not None:
                self.gone = True
                return usage
            await self._look()

    async def kill_and_wait(self) -> None:
        """Ends it by force, bounded: for the case that the scheduler itself is being torn down."""
        process = self.process
        if process is None or self.gone:
            return
        with trio.CancelScope(shield=True, deadline=trio.current_time() + _UNKILLABLE):
            self.control.kill(process)
            await process.wait()
        self.gone = True

    def _next_look(self) -> float:
        if self._asked is not None or self._hit is not None:
            return self._kill_at
        return self.clocks.next_deadline()

    async def _look(self) -> None:
        now = self._clock.now()
        if self._request is not None and self._request is not self._asked:
            return  # asked for at the loop's head
        if self._asked is not None or self._hit is not None:
            if now >= self._kill_at:
                self._kill()
            return
        expired = self.clocks.expired(now)
        if expired is not None:
            await self._run_out(expired)

    async def _run_out(self, expired: tuple[Clock, float]) -> None:
        self._hit = (self._clock_name or expired[0], expired[1])
        assert self.process is not None
        if self.describe is not None:
            with trio.move_on_after(1.0):
                await self.describe(self.process, ClockHit(clock=self._hit[0], after=self._hit[1]))
        self._ask(self.attempt.stop_signal, self.attempt.grace)

    def _ask_because(self, request: StopRequest) -> None:
        self._asked = request
        grace = self.attempt.grace if request.grace is None else request.grace
        self._ask(request.signal, grace)

    def _ask(self, number: int, grace: float) -> None:
        assert self.process is not None
        self._kill_at = min(self._kill_at, self._clock.now() + grace)
        if grace <= 0:
            self._kill()
        else:
            self.control.stop(self.process, number)

    def _kill(self) -> None:
        assert self.process is not None
        if not self._killed:
            self.control.kill(self.process)
        self._killed = True
        self._kill_at = _NEVER

    # --- the outcome

    def ending(self, own: Ending, *, died: bool = True) -> Ending:
        """What counts as the ending when ``own`` is what the process did: clocks and stops come first."""
        killed = self._killed and died
        if self._hit is not None:
            return ClockHit(clock=self._hit[0], after=self._hit[1], killed=killed)
        if self._asked is not None:
            return Stopped(reason=self._asked.reason, killed=killed)
        return self._explain(own)

    def outcome(
        self, usage: Usage, own: Ending | None = None, *, result: Any = None, log: str | None = None
    ) -> Outcome:
        """Puts the outcome together; ``own`` is what a worker reported, else the wait status speaks."""
        left = (*usage.leaked, *usage.unkillable)
        if usage.status is None:  # nobody knows how it will end, if ever
            ending = self.ending(Lost(why="it cannot be killed"), died=False)
            return msgspec.structs.replace(self.without_process(ending, log=log), leaked=left)
        code, number = exit_of(usage.status)
        ending = self.ending(own if own is not None else from_status(usage.status))
        codes = self.attempt.success_codes
        state, reason = state_of(ending, codes), reason_of(ending, codes)
        if state is State.SUCCEEDED and left and self.attempt.leak == "fail":
            count = sum(one.count for one in left)
            state, reason = State.FAILED, f"left {count:,} process{'es' if count > 1 else ''} behind"
        return Outcome(
            state=state,
            ending=ending,
            reason=reason,
            result=result if state is State.SUCCEEDED else None,
            exit_code=code,
            signal=number,
            elapsed=max(0.0, self._clock.now() - self.started),
            cpu=usage.cpu,
            max_rss=usage.max_rss,
            leaked=left,
            log=log,
        )

    def without_process(self, ending: Ending, *, log: str | None = None) -> Outcome:
        """The outcome of an attempt whose process never was, or is lost."""
        return Outcome(
            state=state_of(ending, self.attempt.success_codes),
            ending=ending,
            reason=reason_of(ending, self.attempt.success_codes),
            exit_code=ending.code if isinstance(ending, SpawnFailed) else None,
            elapsed=max(0.0, self._clock.now() - self.started),
            log=log,
        )

    def lost(self, why: str, *, log: str | None = None) -> Outcome:
        """Nobody knows how it ended, for this reason; what had been decided before still counts."""
        ending = self.ending(Lost(why=why))
        return self.without_process(ending, log=log)

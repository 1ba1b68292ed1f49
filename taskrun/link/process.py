"""A process that was started through the link, as the runner sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trio.lowlevel import Abort, Task, checkpoint_if_cancelled, current_task, reschedule, wait_task_rescheduled

from taskrun.link.values import HostLost

if TYPE_CHECKING:
    from taskrun.link.conversation import Conversation
    from taskrun.link.values import Usage


class Process:
    """A leader that runs, or has ended.

    Attributes:
        id: The link's number for it.
        pid: Its process id. Signals go through the link: by this number they could hit a stranger.
        start: When it started, in the platform's unit (Linux: clock ticks since boot).
        mark: What it and what it starts carry in ``TASKRUN_MARK``.
        usage: How it ended; ``None`` before.
    """

    __slots__ = ("_conversation", "_waiters", "id", "mark", "pid", "start", "usage")

    def __init__(self, conversation: Conversation, number: int, pid: int, start: int, mark: str) -> None:
        self.id = number
        self.pid = pid
        self.start = start
        self.mark = mark
        self.usage: Usage | None = None
        self._conversation = conversation
        self._waiters: list[Task] = []

    async def wait(self) -> Usage:
        """Waits until it, and all that it left, has ended; any number of tasks may.

        Raises:
            HostLost: Nobody knows how it ended; by now it has been killed.
        """
        while (usage := await self.wait_news()) is None:
            pass
        return usage

    async def wait_news(self) -> Usage | None:
        """As ``wait``, but returns ``None`` when ``wake`` was called before the end: there is something else to do.

        It takes the place of a cancel scope around ``wait``, which would cost more than all the rest of it.
        """
        if self.usage is None and not self._conversation.over:
            task = current_task()
            self._waiters.append(task)

            def abort(_raise_cancel: Any) -> Abort:
                self._waiters.remove(task)
                return Abort.SUCCEEDED

            await wait_task_rescheduled(abort)
        else:
            await checkpoint_if_cancelled()  # a whole checkpoint would cost as much as the rest: the spawn was one
        if self.usage is None and self._conversation.over:
            raise HostLost(self._conversation.why)
        return self.usage

    def wake(self) -> None:
        """Lets everyone who waits see how it stands."""
        waiters, self._waiters = self._waiters, []
        for task in waiters:
            reschedule(task)

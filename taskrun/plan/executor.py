"""The protocol of whatever carries attempts to their outcomes: local, pooled, queued, remote or fake.

It is defined where it is needed. Every executor passes the suite in ``tests/contract/test_executor_contract.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from taskrun.events import Emit
    from taskrun.model import Attempt, Outcome, StopRequest


class Executor(Protocol):
    """Carries attempts to their outcomes, any number of different tasks at once."""

    async def execute(self, attempt: Attempt, emit: Emit) -> Outcome:
        """Carries one attempt to its outcome; nothing that it started is left when this returns.

        All that a task can do wrong is an outcome; an exception is a bug of ours. Where the surrounding trio scope is
        cancelled, the attempt is killed at once, what it left is cleaned up, and ``trio.Cancelled`` goes on.

        Args:
            attempt: Its task has no other attempt under way.
            emit: Takes the facts about the attempt, from ``TaskStart`` on; none comes after the return.
        """
        ...

    def stop(self, task: str, request: StopRequest) -> None:
        """Asks for the end of a task's attempt and returns at once; the outcome comes from ``execute``.

        It works from the first step of ``execute`` on. An attempt that ends well by itself before the request reached
        it has succeeded; one that was stopped is CANCELLED with ``Stopped``. Of several requests the shorter grace
        period and the stronger reason win. A task that has no attempt under way is ignored.
        """
        ...

"""What attempts share: the machinery of a process (link, clock, pumps, FIFOs, pools), and the record of their run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.execute.fifo import Fifos
from taskrun.execute.memory_kills import MemoryKills
from taskrun.execute.pump import Pump
from taskrun.execute.running import Running

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Awaitable, Callable

    from taskrun.execute.clocks import RunClock
    from taskrun.execute.pools import Pools
    from taskrun.link import Link, TemplateSpec
    from taskrun.model import Attempt
    from taskrun.record.checkpoints import Checkpoints
    from taskrun.record.folder import RunFolder


class Machinery:
    """Made once by the composition root, for one run or for all that a queue worker carries out.

    Attributes:
        outputs: Reads what tasks write; may be held when nobody takes it.
        controls: Reads progress and workers' messages; is never held.
        template: Where Python calls are forked from.
        give_terminal: Called around interactive tasks: the live area goes, and comes back.
        suspend: Stops everything as Ctrl+Z does; returns when it goes on.
        pools: ``None``: there are none.
        attempts: How many are under way.
        short: How many of these wait for something that the machine is short of.
    """

    def __init__(
        self,
        *,
        link: Link,
        clock: RunClock,
        template: TemplateSpec,
        give_terminal: Callable[[], contextlib.AbstractContextManager[None]],
        suspend: Callable[[], Awaitable[None]],
    ) -> None:
        self.link = link
        self.clock = clock
        self.template = template
        self.give_terminal = give_terminal
        self.suspend = suspend
        self.attempts = 0
        self.short = 0
        self.outputs = Pump()
        self.pools: Pools | None = None
        self.controls = Pump()
        self.fifos = Fifos(self.controls, made=link.remove_at_end)
        self.memory_kills = MemoryKills()

    def close(self) -> None:
        """When no attempt is under way any more."""
        self.fifos.close()
        self.outputs.close()
        self.controls.close()


class Equipment:
    """What the attempts of one run have.

    Attributes:
        machinery: Shared with other runs, where there are any.
        folder: The run's record; ``None`` keeps no logs.
        checkpoints: What tasks saved half-way; ``None`` keeps none.
    """

    def __init__(self, machinery: Machinery, *, folder: RunFolder | None, checkpoints: Checkpoints | None) -> None:
        self.machinery = machinery
        self.folder = folder
        self.checkpoints = checkpoints
        self.link = machinery.link
        self.clock = machinery.clock
        self.template = machinery.template
        self.outputs = machinery.outputs
        self.controls = machinery.controls
        self.fifos = machinery.fifos

    def running(self, attempt: Attempt) -> Running:
        """A new attempt under way."""
        return Running(attempt, self.link, self.clock, self.machinery.memory_kills.explain)

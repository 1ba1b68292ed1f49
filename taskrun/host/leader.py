"""What the host keeps of one attempt: its leader process and how its end goes. It does nothing by itself."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from taskrun.host.platform import LeftOver


class Leader:
    """The first process of an attempt; all that it starts is the attempt's too.

    Attributes:
        id: The runner's number for the attempt.
        pid: Its process id; not free for others before we reap it.
        start: Its start time in the platform's unit.
        mark: What its environment carries in TASKRUN_MARK.
        worker: Whether it is a Python worker (it dumps its stack on SIGUSR1).
        alone: No other attempt and no template was alive at any time since it began: a stray can only be its own.
        exited: It is a zombie, which we keep until nothing of the attempt is alive.
        asked: The runner asked it to stop: what outlives it has until the runner's ``kill``.
        killing: All of it is being killed.
        doubt_at: When what cannot be told from a stranger counts as one; ``None``: there is no such thing.
        leak_at: When what has outlived it is killed; ``None``: nothing has, so far.
        give_up: When killing is given up.
        leaked: What had outlived it, for the report.
        kin: Processes seen to belong to it, dead ones included: pid to start time.
    """

    __slots__ = (
        "alone",
        "asked",
        "doubt_at",
        "exited",
        "give_up",
        "id",
        "killing",
        "kin",
        "leak_at",
        "leaked",
        "mark",
        "pid",
        "start",
        "worker",
    )

    def __init__(self, number: int, pid: int, start: int, mark: str, *, worker: bool) -> None:
        self.id = number
        self.pid = pid
        self.start = start
        self.mark = mark.encode()
        self.worker = worker
        self.alone = False
        self.exited = False
        self.asked = False
        self.killing = False
        self.doubt_at: float | None = None
        self.leak_at: float | None = None
        self.give_up = 0.0
        self.leaked: list[LeftOver] = []
        self.kin: dict[int, int] = {}

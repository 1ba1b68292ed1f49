"""What may start when, and what each outcome changes: the pure state machine of a run.

It knows no clock, does no input or output and never waits; whoever drives it tells it how attempts ended.
"""

from taskrun.plan.changes import Change, Retried, RuledOut, Settled, Start, StopRunning
from taskrun.plan.executor import Executor
from taskrun.plan.machine import Plan
from taskrun.plan.retry import retry_decision

__all__ = [
    "Change",
    "Executor",
    "Plan",
    "Retried",
    "RuledOut",
    "Settled",
    "Start",
    "StopRunning",
    "retry_decision",
]

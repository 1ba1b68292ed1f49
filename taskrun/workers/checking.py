"""Refuses what no pool could work with before anything starts: later it would fail in a task that nobody waits for.

What is there, as a folder or a module, is not looked at here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from taskrun.worker import targets
from taskrun.worker.contract import Request
from taskrun.workers.settings import Restarts, RetryOnCrash, Timeouts

if TYPE_CHECKING:
    from taskrun.workers.settings import Settings


def refuse_bad_settings(settings: Settings) -> None:
    """Looks at all that a pool is told about its workers.

    Raises:
        TypeError: Something is of the wrong type.
        ValueError: A number is out of range.
    """
    for name in ("size", "prefetch"):
        whole(name, getattr(settings, name), least=1)
    for name in ("max_queue", "max_requests", "max_memory"):
        whole(name, getattr(settings, name), least=1, optional=True)
    whole("spares", settings.spares, least=0)
    seconds("grace", settings.grace)
    seconds("idle_timeout", settings.idle_timeout, optional=True)
    _refuse_bad_timeouts(settings.timeouts)
    _refuse_bad_policies(settings.on_crash)
    _of_type("restarts", settings.restarts, Restarts)
    whole("restarts.most", settings.restarts.most, least=0)
    seconds("restarts.within", settings.restarts.within)
    for layer in settings.middleware:
        if not callable(layer):
            raise TypeError(f"middleware must be functions, not {layer!r}")


def refuse_endless_workers() -> None:
    """A pool that the module of its own handlers opens would have workers that open pools, and so on.

    Raises:
        RuntimeError: This is where a module is imported for workers.
    """
    if targets.importing:
        raise RuntimeError(
            f"`{targets.importing}` is being imported for workers, and opens a pool itself: put what is to run only "
            'once under `if __name__ == "__main__":`'
        )


def refuse_bad_target(target: object) -> None:
    """Looks at what says where the handlers are.

    Raises:
        TypeError: It is no text.
        ValueError: It is not of the form that is needed, or names what is another module in each process.
    """
    if not isinstance(target, str):
        raise TypeError(f'target must say where the handlers are, as in "module:name", not be {target!r}')
    try:
        targets.split(target)
    except targets.TargetMistake:
        raise ValueError(f'target must be of the form "module:name", not {target!r}') from None
    if target.startswith("__main__:"):
        raise ValueError(f"target must name the module as workers can import it, not {target!r}: each has its own")


def refuse_bad_preload(preload: object) -> None:
    """Looks at names of modules.

    Raises:
        TypeError: It is one name, whose letters would be taken for modules.
    """
    if isinstance(preload, str):
        raise TypeError(f"preload must be a sequence of names, not {preload!r}")


def whole(name: str, value: object, *, least: int, optional: bool = False) -> None:
    """Refuses what is no whole number, or below ``least``.

    Raises:
        TypeError: It is none.
        ValueError: It is below.
    """
    if optional and value is None:
        return
    if not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, not {value}")


def seconds(name: str, value: object, *, optional: bool = False) -> None:
    """Refuses what is no time.

    Raises:
        TypeError: It is no number.
        ValueError: It is negative, or not a number at all.
    """
    if optional and value is None:
        return
    if not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {value!r}")
    if not value >= 0:  # NaN is not either
        raise ValueError(f"{name} must be at least 0 seconds, not {value}")


def _of_type(name: str, value: object, kind: type[Any]) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} must be `{kind.__name__}(...)`, not {value!r}")


def _refuse_bad_timeouts(timeouts: Timeouts) -> None:
    _of_type("timeouts", timeouts, Timeouts)
    seconds("timeouts.startup", timeouts.startup, optional=True)
    seconds("timeouts.message", timeouts.message, optional=True)
    for kind, limit in timeouts.per_message.items():
        _refuse_other_classes("timeouts.per_message", kind)
        seconds(f"the timeout of `{kind.__name__}`", limit, optional=True)


def _refuse_bad_policies(on_crash: RetryOnCrash | Mapping[Any, RetryOnCrash] | None) -> None:
    if on_crash is None:
        return
    policies = on_crash.items() if isinstance(on_crash, Mapping) else [(Request, on_crash)]
    for kind, policy in policies:
        _refuse_other_classes("on_crash", kind)
        _of_type("on_crash", policy, RetryOnCrash)
        whole("on_crash.attempts", policy.attempts, least=1)


def _refuse_other_classes(name: str, kind: object) -> None:
    if not (isinstance(kind, type) and issubclass(kind, Request)):
        raise TypeError(f"{name} has request classes as its keys, not {kind!r}")

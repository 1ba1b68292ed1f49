"""What an ``Executor`` was told, and what its workers are forked from. Values only."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from taskrun.model import Value
from taskrun.worker import main_module
from taskrun.workers.settings import Settings  # noqa: TC001 - msgspec reads the annotations

if TYPE_CHECKING:
    from taskrun.link import TemplateSpec


class Plan(Value, frozen=True, kw_only=True):
    """What an executor was told.

    Attributes:
        setup: What each worker gets first; see ``callables.setup_of``.
        main: The program's main module; see ``main_module``.
        main_first: The initializer is defined there.
    """

    settings: Settings
    timeout: float | None
    kill_on_cancel: bool
    preload: tuple[str, ...]
    setup: bytes
    main: dict[str, Any]
    main_first: bool


def is_of_main(function: object) -> bool:
    """Whether it is defined in the program's main module."""
    return getattr(function, "__module__", None) == "__main__"


def with_main(template: TemplateSpec, main: dict[str, Any]) -> TemplateSpec:
    """A template that has run the program's main module."""
    env = {**(template.env or {}), main_module.VARIABLE: json.dumps(main)}
    return msgspec.structs.replace(template, env=env, preload=(*template.preload, "taskrun.worker.preload_main"))

"""Environments on their way to the host: each is told as what differs from the first. It sends nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Environments:
    """Those of one link. Environments of a run are alike but for a few variables, and are by far the most of a request.

    Args:
        tell: Sends a message to the host.
    """

    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell = tell
        self._common: dict[str, str] | None = None

    def differing(self, env: dict[str, str]) -> dict[str, str | None]:
        """What the host must be told of an environment; ``None``: the variable is not there."""
        if self._common is None:
            self._common = dict(env)
            self._tell("environ", self._common)
        common = self._common
        differing: dict[str, str | None] = {name: value for name, value in env.items() if common.get(name) != value}
        differing.update(dict.fromkeys(common.keys() - env.keys()))
        return differing

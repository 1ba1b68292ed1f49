"""What the workers of a pool have in common: where they are forked, and the memory that they are lent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskrun.worker.arena import Arena

if TYPE_CHECKING:
    from taskrun.link import Link, TemplateSpec


class Birthplace:
    """What all workers of a pool are made of, and have in common.

    Attributes:
        arena: What large values of requests lie in.
    """

    def __init__(
        self,
        link: Link,
        template: TemplateSpec,
        target: str,
        *,
        env: dict[str, str],
        startup: float | None,
        stdout: int,
        setup: bytes = b"",
    ) -> None:
        self.link = link
        self.template = template
        self.target = target
        self.env = env
        self.startup = startup
        self.stdout = stdout
        self.setup = setup
        self.arena = Arena()

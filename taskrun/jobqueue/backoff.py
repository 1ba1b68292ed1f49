"""How long a failed job waits: full jitter, so that what failed together does not come back together. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

BASE = 5.0  # seconds
CAP = 3600.0  # seconds
_STEPS = 40  # doublings, after which a float might overflow; the cap is far below


def back_off(attempt: int, chance: random.Random, *, base: float = BASE, cap: float = CAP) -> float:
    """Seconds before the next attempt: evenly anything up to ``base``, doubled with each attempt, at most ``cap``."""
    return chance.uniform(0.0, min(cap, base * 2.0 ** min(max(attempt, 1) - 1, _STEPS)))

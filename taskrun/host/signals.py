"""``signal`` under that name, but the C module, with the types of the other: ``enum``, which that needs, is slow."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    import _signal as signal

__all__ = ["signal"]

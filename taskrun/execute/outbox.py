"""Small messages to a worker, sent at once: what finds no room in the channel is kept, whole and in order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from taskrun.execute.pump import Stream


class Outbox:
    """The runner's side of one worker's channel, for what no task waits to send."""

    def __init__(self) -> None:
        self._unsent = bytearray()

    def send(self, channel: Stream | None, data: bytes) -> None:
        """Sends a message, or keeps it for ``flush``: somebody in the worker may be waiting for it."""
        self._unsent += data
        self.flush(channel)

    def flush(self, channel: Stream | None) -> None:
        """Sends what was kept, as far as there is room; to be called now and then."""
        if not self._unsent or channel is None or channel.closed:
            return
        try:
            del self._unsent[: os.write(channel.fd, self._unsent)]
        except BlockingIOError:
            return
        except OSError:
            self._unsent.clear()  # the worker is gone

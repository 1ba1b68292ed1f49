"""The host's end of the socket to the runner: frames in, frames out, never waiting. It knows no message."""

from __future__ import annotations

import errno

from taskrun.frames import FrameReader, pack, send_fds

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any


class Control:
    """A non-blocking stream of frames.

    What cannot be sent at once is kept. It does not pile up: each frame of ours answers one of theirs or is one of a
    bounded number of requests, and who does not read our answers sends no more requests.

    Args:
        sock: A connected Unix stream socket; it becomes non-blocking and is closed by ``close``.
    """

    def __init__(self, sock: _socket.socket) -> None:
        sock.setblocking(False)
        self.fd = sock.fileno()
        self.closed = False
        self._sock = sock
        self._reader = FrameReader()
        self._out: list[tuple[bytearray, list[int]]] = []  # descriptors go with the first byte, and stay the caller's

    @property
    def pending(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._out)

    def receive(self) -> list[Any]:
        """The frames that have come, which may be none.

        Raises:
            Disconnected: The other end is gone.
            MalformedFrame: It talks nonsense.
        """
        try:
            return self._reader.receive(self._sock)
        except BlockingIOError:
            return []

    def take_fds(self, count: int) -> list[int]:
        """As ``FrameReader.take_fds``."""
        return self._reader.take_fds(count)

    def put(self, value: Any, fds: list[int] | None = None) -> None:
        """Queues one frame, which ``flush`` sends; ``fds`` must stay open until it is answered."""
        if self.closed:
            return
        if fds or not self._out or self._out[-1][1]:
            self._out.append((bytearray(pack(value)), fds or []))
        else:
            self._out[-1][0].extend(pack(value))

    def flush(self) -> None:
        """Sends what it can. That the other end is gone is found by ``receive``."""
        while self._out:
            data, fds = self._out[0]
            try:
                sent = send_fds(self._sock, data, fds) if fds else self._sock.send(data)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ETOOMANYREFS:  # too many descriptors under way: as if the buffer were full
                    self._out.clear()
                return
            if sent < len(data):
                self._out[0] = (data[sent:], [])
                return
            del self._out[0]

    def close(self) -> None:
        """Closes the socket and the descriptors that nobody took."""
        if not self.closed:
            self.closed = True
            self._out.clear()
            self._reader.close()
            self._sock.close()

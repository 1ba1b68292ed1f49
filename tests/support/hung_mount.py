"""A folder on which every process hangs that looks into it, in uninterruptible sleep, as on a dead network mount.

    python hung_mount.py FOLDER THAW COMMAND...

Mounts a FUSE file system of which nothing is ever answered, runs the command, says "over STATUS" when it has ended, and
takes the mount away when there is a file THAW. Needs a mount namespace of its own in which it is root; without what it
needs it ends with status 77.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import subprocess
import sys
import threading
import time

MISSING = 77
_INIT = 26  # the one request that is answered: without it nothing else is asked
_REQUEST = struct.Struct("<IIQ")  # length, kind, number
_ANSWER = struct.Struct("<IiQ")  # length, error, number
_AGREED = struct.Struct("<IIIIHHI40x")  # version, read-ahead, flags, limits
_PATIENCE = 60.0  # seconds


def mounted(folder: str) -> int:
    """The descriptor by which the kernel asks."""
    try:
        fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        print(error)
        raise SystemExit(MISSING) from None
    options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"hung", os.fsencode(folder), b"fuse", 0, options):
        print("mount:", os.strerror(ctypes.get_errno()))
        raise SystemExit(MISSING)
    return fuse


def listen(fuse: int) -> None:
    """Takes every request and answers none: whoever asked sleeps, and no signal reaches it."""
    with contextlib.suppress(OSError):
        while True:
            request = os.read(fuse, 1 << 20)
            _length, kind, number = _REQUEST.unpack_from(request)
            if kind == _INIT:
                agreed = _AGREED.pack(7, 19, 0, 0, 0, 0, 4096)
                os.write(fuse, _ANSWER.pack(_ANSWER.size + len(agreed), 0, number) + agreed)


def main(folder: str, thaw: str, *command: str) -> None:
    fuse = mounted(folder)
    threading.Thread(target=listen, args=(fuse,), daemon=True).start()
    print("over", subprocess.run(command, check=False).returncode, flush=True)
    until = time.monotonic() + _PATIENCE
    while not os.path.exists(thaw) and time.monotonic() < until:
        time.sleep(0.01)
    os._exit(0)  # the kernel gives the mount up with the last descriptor


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A worker that was exec'd for its one call: where none can be forked that would be the host's child.

It is slower by the start of an interpreter and every import, and it needs nothing but ``posix_spawn``.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import msgspec

from taskrun.worker import failures, system, template, work
from taskrun.worker.session import Session, complain
from taskrun.worker.stopping import interruption


def main(sys_path: str) -> NoReturn:
    """The worker's whole life; never returns. The channel is descriptor 3, and the environment is the call's.

    Args:
        sys_path: JSON: what comes first in ``sys.path``.
    """
    status = work.BROKEN
    try:
        template.open_streams()
        template.hear_signals()
        template.forget_program()
        interruption.begin()
        system.set_name("taskrun-worker")
        os.set_inheritable(3, False)
        sys.path[:0] = msgspec.json.decode(sys_path, type=list[str])
        status = work.serve(Session(3))
    except BaseException as error:  # noqa: BLE001 - the program that this was is not the user's
        complain(failures.describe(error).traceback)
    finally:
        os._exit(status)

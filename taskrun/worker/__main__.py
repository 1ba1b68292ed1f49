"""Starts a template or a worker by exec, for an interpreter that is not the host's own.

``python -m taskrun.worker template``: a template, whose socket to the host is descriptor 3.
``python -m taskrun.worker call SYS_PATH``: a worker for one call, whose channel is descriptor 3.
"""

from __future__ import annotations

import sys

from taskrun.worker import alone, template

if __name__ == "__main__":
    if sys.argv[1] == "call":
        alone.main(sys.argv[2])
    template.main(3)

"""Starts a template by exec: ``python -m taskrun.worker FD``, for an interpreter that is not the host's own."""

from __future__ import annotations

import sys

from taskrun.worker.template import main

if __name__ == "__main__":
    main(int(sys.argv[1]))

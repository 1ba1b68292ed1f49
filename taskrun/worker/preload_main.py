"""Imported by a template: runs the program's main module there once, for all workers. It does nothing anywhere else."""

from __future__ import annotations

import json
import os

from taskrun.worker import main_module

_described = os.environ.pop(main_module.VARIABLE, "")
if _described:
    main_module.load(json.loads(_described))

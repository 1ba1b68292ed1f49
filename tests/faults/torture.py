"""The torture tests for as long as one likes, an hour if nothing is said; each kind gets its share of the time.

python tests/faults/torture.py [--seconds N] [--seed SEED] [trees] [writers] [suspend] [graphs] [scale]

A failure ends its kind, and prints the seed with which the one case can be had again (`--seed SEED trees`).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

KINDS = ("trees", "writers", "suspend", "graphs", "scale")
HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds", type=float, default=3600.0, help="in all; `scale` takes a minute or two of its own"
    )
    parser.add_argument("--seed", help="of an earlier run; with `:NUMBER`, one case of it again and again")
    parser.add_argument("kinds", nargs="*", choices=[*KINDS, []], metavar="KIND", help=", ".join(KINDS))
    given = parser.parse_args()
    kinds = given.kinds or KINDS
    share = given.seconds / max(1, len(set(kinds) - {"scale"}))
    return max(torture(kind, share, given.seed) for kind in kinds)


def torture(kind: str, seconds: float, seed: str | None) -> int:
    """Runs one kind; its exit status."""
    env = {**os.environ, "TORTURE_SECONDS": str(seconds), **({"TORTURE_SEED": seed} if seed else {})}
    path = os.path.join(HERE, f"test_torture_{kind}.py")
    options = ["-q", "--no-header", "--tb=short", "-o", "faulthandler_timeout=0", "-p", "no:cacheprovider"]
    began = time.monotonic()
    status = subprocess.run([sys.executable, "-m", "pytest", path, *options], cwd=ROOT, env=env, check=False).returncode
    print(f"== {kind}: {'went well' if status == 0 else 'FAILED'} after {time.monotonic() - began:.0f} s", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())

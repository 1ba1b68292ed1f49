"""How many CPUs there are for this process, by its affinity and its control group. It starts nothing."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """CPUs that this process may use: affinity and cgroup quota counted, at least 1."""
    has_affinity = hasattr(os, "sched_getaffinity")  # not on macOS
    count = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    quota = _cgroup_quota()
    return max(1, min(count, quota) if quota else count)


def _cgroup_quota() -> int | None:
    """Whole CPUs that the cgroup's quota amounts to (rounded up), or ``None``."""
    try:
        with open("/proc/self/cgroup", "rb") as file:
            path = next((line[3:].strip().decode() for line in file if line.startswith(b"0::")), "/")
        for folder in (f"/sys/fs/cgroup{path}", "/sys/fs/cgroup"):
            quota_file = os.path.join(folder, "cpu.max")
            if os.path.exists(quota_file):
                with open(quota_file, "rb") as file:
                    quota, period = file.read().split()[:2]
                return None if quota == b"max" else -(-int(quota) // int(period))
    except (OSError, ValueError):
        return None
    return None

"""The trio end of the host's socket: starts processes through the host and waits for their ends. It decides nothing."""

from __future__ import annotations

from taskrun.host.start import HostStart
from taskrun.link.link import Link, open_link
from taskrun.link.process import Process
from taskrun.link.values import HostLost, SpawnError, TemplateSpec, Usage

__all__ = ["HostLost", "HostStart", "Link", "Process", "SpawnError", "TemplateSpec", "Usage", "open_link"]

"""The fixtures of every test of the command line."""

from support.project import project
from support.real import real

__all__ = ["project", "real"]

"""The `project` fixture for every test of the command line."""

from support.project import project

__all__ = ["project"]

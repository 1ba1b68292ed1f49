"""TOML to ``Project``: finds the file, checks it, and knows the place of every mistake. Never starts anything."""

from __future__ import annotations

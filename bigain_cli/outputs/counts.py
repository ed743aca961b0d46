"""Counts as people write them: 1 draw, 2 draws."""

from __future__ import annotations


def counted(count: int, name: str) -> str:
    """Write a count with its noun."""
    return f"{count} {name}" if count == 1 else f"{count} {name}s"

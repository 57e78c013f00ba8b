"""The story that ``pgmend demo`` tells."""

from __future__ import annotations


def tell(rows: int) -> bool:
    """Tell the story over ``rows`` rows; True if pgmend found just what was planted."""
    raise NotImplementedError(rows)

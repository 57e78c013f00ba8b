"""Many times of the same kind, and what is told of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How many there were, and three of them in seconds."""

    count: int
    p50: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Times:
        """Take the nearest rank of each; there must be at least one."""
        ordered = sorted(seconds)

        def rank(share: float) -> float:
            return ordered[math.ceil(share * len(ordered)) - 1]

        return cls(count=len(ordered), p50=rank(0.5), p99=rank(0.99), longest=ordered[-1])

    def __str__(self) -> str:
        return (
            f"p50 {_text(self.p50)}, p99 {_text(self.p99)}, longest {_text(self.longest)}"
            f" of {self.count:,}"
        )


def _text(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"

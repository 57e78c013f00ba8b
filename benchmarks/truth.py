"""Groups in a form that can be compared without being kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The groups that somebody found, or that were planted."""

    groups: int
    rows_in_groups: int
    #: of every group's primary keys, in no order; None where only the counts are compared
    fingerprint: str | None


def found_in(groups: Iterable[Iterable[int]]) -> Found:
    """Count groups of primary keys and fingerprint them, whatever their order."""
    count = members = mixed = 0
    for group in groups:
        ids = sorted(map(int, group))
        count += 1
        members += len(ids)
        digest = hashlib.sha256(",".join(map(str, ids)).encode()).digest()
        mixed ^= int.from_bytes(digest[:16], "big")
    return Found(groups=count, rows_in_groups=members, fingerprint=f"{mixed:032x}")

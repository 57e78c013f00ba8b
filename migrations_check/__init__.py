"""Checks around an upgrade: what will break in it, and whether a way back exists.

It may import ``dedupe``, and ``dedupe`` never imports it.
"""

from __future__ import annotations

from .snapshots.gate import Demand, duration, require_snapshot, required, spoken
from .snapshots.guard import Guard
from .snapshots.provider import Snapshot, Step
from .snapshots.receipts import Kept, Receipt, Result, load
from .snapshots.status import Standing, Status, status

__all__ = [
    "Demand",
    "Guard",
    "Kept",
    "Receipt",
    "Result",
    "Snapshot",
    "Standing",
    "Status",
    "Step",
    "duration",
    "load",
    "require_snapshot",
    "required",
    "spoken",
    "status",
]

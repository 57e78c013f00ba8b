"""What a scan tells while it works: one event type, and the estimate of the time left."""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .scan.run import Run


class RunStatus(enum.StrEnum):
    """Where a run is. ``INTERRUPTED`` is an unfinished run that nobody works on."""

    SCANNING = "scanning"
    SWEEPING = "sweeping"
    CONFIRMING = "confirming"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One look at a running scan; made at most about ten times a second."""

    #: the live run: ``stop()`` may be called on it from any thread
    run: Run
    phase: RunStatus
    #: share of the whole work, 0 to 1, by heap blocks
    fraction: float
    #: rows read so far that take part in a key, all keys together
    rows: int
    #: heap blocks read, the sweep's second reading included
    blocks_done: int
    #: heap blocks to read, the sweep's second reading included
    blocks_total: int
    #: duplicate groups confirmed so far
    groups: int
    #: bytes in the spill
    bytes_spilled: int
    #: seconds of work in this run, earlier sessions included
    seconds: float
    #: seconds left; None until there is a pace to judge by
    eta_seconds: float | None
    #: why the scan waits, while it waits
    waiting: str | None = None
    #: something to tell once: a reconnect, an unreadable row
    message: str | None = None


class Estimate:
    """Time left, from the pace of about the last 20 seconds of work."""

    def __init__(self, window: float = 20.0) -> None:
        self._window = window
        self._points: deque[tuple[float, float]] = deque()

    def left(self, now: float, fraction: float) -> float | None:
        """Take one point (seconds, share done) and return the seconds left, or None."""
        points = self._points
        points.append((now, fraction))
        while len(points) > 2 and now - points[0][0] > self._window:
            points.popleft()
        then, before = points[0]
        if now - then < 0.5 or fraction <= before:
            return None
        return (1.0 - fraction) * (now - then) / (fraction - before)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairProgress:
    """One look at a running repair, undo or verification."""

    #: what is being done: ``preparing``, ``repairing``, ``looking again``, ``rebuilding``,
    #: ``undoing``; of a recipe, before its first repair and after the last one, ``surveying``
    #: and ``proving references``; in a verification ``looking for groups``, ``following
    #: references``, ``proving the index``
    phase: str
    #: share of the phase that is done, 0 to 1
    fraction: float
    groups_done: int
    groups_total: int
    #: seconds of work in this call
    seconds: float
    #: seconds left of the phase; None until there is a pace to judge by
    eta_seconds: float | None
    #: why the work waits, while it waits
    waiting: str | None = None
    #: something to tell once
    message: str | None = None

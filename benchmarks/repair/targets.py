"""What is wanted of the figures, and whether they are so."""

from __future__ import annotations

from collections.abc import Iterator

from ..targets import MOST_RSS, Verdict
from .course import Figures
from .peer import FIND

#: rows from which ratios are judged: below, what every repair costs once weighs in
FROM_ROWS = 5_000_000

MOST_OF_PEER = 3.0
MOST_LOCK_SECONDS = 1.0
MOST_OF_REPAIR = 1.0


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Judge every figure that something is wanted of."""
    ours, best = figures.ours, figures.best
    # Somebody who writes meanwhile slows pgmend down, and had no place beside the peer.
    large = figures.asked.shape.rows >= FROM_ROWS and not figures.asked.writer
    for name, text, found, most in (
        ("of_peer", "repair / SQL", ours.repair.seconds / best.seconds, MOST_OF_PEER),
        (
            "of_repair",
            "undo / repair",
            ours.undo.seconds / ours.repair.seconds,
            MOST_OF_REPAIR,
        ),
    ):
        yield Verdict(
            name=name,
            text=text,
            found=found,
            shown=f"{found:.2f}",
            wanted=f"≤ {most:g}",
            met=found <= most if large else None,
        )
    held = ours.batches.p99
    yield Verdict(
        name="lock_seconds",
        text="locks of a batch, p99",
        found=held,
        shown=f"{held:.2f} s",
        wanted=f"≤ {MOST_LOCK_SECONDS:g} s",
        met=held <= MOST_LOCK_SECONDS,
    )
    yield Verdict(
        name="rss_bytes",
        text="client memory",
        found=ours.rss_bytes,
        shown=f"{ours.rss_bytes / 1e6:.0f} MB",
        wanted=f"≤ {MOST_RSS / 1e6:.0f} MB",
        met=ours.rss_bytes <= MOST_RSS,
    )


def planned_ratio(figures: Figures) -> float:
    """Return pgmend's plan and repair over the peer; nothing is wanted of it."""
    ours = figures.ours
    return (ours.plan.seconds + ours.repair.seconds) / figures.best.seconds


def whole_ratio(figures: Figures) -> float:
    """Return all of pgmend's way over all of the peer's, both searches counted."""
    ours, best = figures.ours, figures.best
    return (ours.scan.seconds + ours.plan.seconds + ours.repair.seconds) / (
        best.seconds + best.steps[FIND]
    )

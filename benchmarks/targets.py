"""What is wanted of the figures, and whether they are so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .course import Figures
from .floor import FLOOR
from .ours import NAME
from .peers import GROUP_BY

#: rows from which times and growth are judged: below, what every run costs once weighs in
FROM_ROWS = 10_000_000
#: settings that the wanted figures are stated for
JOBS, MEMORY = 2, "64MB"

MOST_OF_FLOOR = 2.2
LEAST_OF_PEER = 3.5
MOST_RSS = 150_000_000
MOST_GROWTH = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One figure beside what is wanted of it."""

    #: name for programs
    name: str
    #: the same for people
    text: str
    found: float
    #: for people: the figure and what is wanted
    shown: str
    wanted: str
    #: None where the figure is not judged: too few rows, or other settings
    met: bool | None


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Judge every figure that something is wanted of."""
    asked, whole = figures.asked, figures.statuses
    settings = (asked.jobs, asked.memory.upper()) == (JOBS, MEMORY)
    large = settings and asked.rows >= FROM_ROWS
    ours = whole.net_seconds(NAME)
    floor = ours / whole.net_seconds(FLOOR.name)
    yield Verdict(
        name="of_floor",
        text="pgmend / floor",
        found=floor,
        shown=f"{floor:.2f}",
        wanted=f"≤ {MOST_OF_FLOOR}",
        met=floor <= MOST_OF_FLOOR if large else None,
    )
    peer = whole.net_seconds(GROUP_BY.name) / ours
    yield Verdict(
        name="of_peer",
        text=f"{GROUP_BY.name} / pgmend",
        found=peer,
        shown=f"{peer:.2f}",
        wanted=f"≥ {LEAST_OF_PEER}",
        met=peer >= LEAST_OF_PEER if large else None,
    )
    temporary = max(
        contest.temp_bytes(NAME) for contest in (whole, figures.tenth, figures.one_group)
    )
    yield Verdict(
        name="temp_bytes",
        text="temporary bytes on the server",
        found=temporary,
        shown=f"{temporary:,}",
        wanted="0",
        met=temporary == 0,
    )
    for name, text, contest in (
        ("rss_bytes", "client memory", whole),
        ("one_group_rss_bytes", "client memory, all one group", figures.one_group),
    ):
        held = contest.rss_bytes(NAME)
        yield Verdict(
            name=name,
            text=text,
            found=held,
            shown=f"{held / 1e6:.0f} MB",
            wanted=f"≤ {MOST_RSS / 1e6:.0f} MB",
            met=held <= MOST_RSS if settings else None,
        )
    growth = whole.rss_bytes(NAME) / figures.tenth.rss_bytes(NAME) - 1
    yield Verdict(
        name="rss_growth",
        text=f"memory growth from {asked.tenth:,} rows",
        found=growth,
        shown=f"{growth:+.1%}",
        wanted=f"< {MOST_GROWTH:.0%}",
        met=growth < MOST_GROWTH if large else None,
    )

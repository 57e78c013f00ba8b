"""What is wanted of the figures, and whether they are so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .contest import Outcome
from .figures import Contest, Figures
from .floor import FLOOR
from .ours import NAME
from .peers import GROUP_BY, PEERS

#: rows from which times and growth are judged: below, what every run costs once weighs in
FROM_ROWS = 10_000_000
#: rows from which more is wanted of the times
MANY_ROWS = 50_000_000
#: settings that the wanted figures are stated for
JOBS, MEMORY = 2, "64MB"

MOST_OF_FLOOR, MOST_OF_FLOOR_MANY = 2.2, 1.5
LEAST_OF_PEER, LEAST_OF_PEER_MANY = 3.5, 5.0
MOST_SCAN_RSS = 128_000_000
MOST_RSS = 150_000_000
MOST_GROWTH = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One figure beside what is wanted of it."""

    #: name for programs
    name: str
    #: the same for people
    text: str
    #: None where it could not be measured
    found: float | None
    #: for people: the figure and what is wanted
    shown: str
    wanted: str
    #: None where the figure is not judged: too few rows, or other settings
    met: bool | None


def verdicts(figures: Figures) -> Iterator[Verdict]:
    """Judge every figure that something is wanted of."""
    asked = figures.asked
    settings = (asked.jobs, asked.memory.upper()) == (JOBS, MEMORY)
    large = settings and asked.rows >= FROM_ROWS
    whole = (figures.statuses, figures.conversations)
    for contest in whole:
        # Stated for statuses; that somebody else is quicker is never wanted.
        judged = large and contest is figures.statuses
        yield from _times(contest, judged=judged, large=large, many=asked.rows >= MANY_ROWS)
    temporary = figures.most(NAME, _temporary, *figures.contests)
    yield Verdict(
        name="temp_bytes",
        text="temporary bytes on the server",
        found=temporary,
        shown="-" if temporary is None else f"{temporary:,}",
        wanted="0",
        met=temporary == 0,
    )
    for name, text, held, most in (
        ("rss_bytes", "client memory", figures.most(NAME, _memory, *whole), MOST_SCAN_RSS),
        (
            "one_group_rss_bytes",
            "client memory, all one group",
            figures.most(NAME, _memory, figures.one_group),
            MOST_RSS,
        ),
    ):
        yield Verdict(
            name=name,
            text=text,
            found=held,
            shown="-" if held is None else f"{held / 1e6:.0f} MB",
            wanted=f"≤ {most / 1e6:.0f} MB",
            met=held is not None and held <= most if settings else None,
        )
    more = _ratio(
        figures.statuses.most(NAME, _memory), figures.tenth.most(NAME, _memory)
    )
    growth = None if more is None else more - 1
    yield Verdict(
        name="rss_growth",
        text=f"memory growth from {asked.tenth:,} rows",
        found=growth,
        shown="-" if growth is None else f"{growth:+.1%}",
        wanted=f"< {MOST_GROWTH:.0%}",
        met=growth is not None and growth < MOST_GROWTH if large else None,
    )


def _times(
    contest: Contest, *, judged: bool, large: bool, many: bool
) -> Iterator[Verdict]:
    ours = contest.net_seconds(NAME)
    of_floor = _ratio(ours, contest.net_seconds(FLOOR.name))
    most = MOST_OF_FLOOR_MANY if many else MOST_OF_FLOOR
    yield Verdict(
        name=f"{contest.table}_of_floor",
        text=f"{contest.table}: {NAME} / floor",
        found=of_floor,
        shown=_shown(of_floor),
        wanted=f"≤ {most}",
        met=of_floor is not None and of_floor <= most if judged else None,
    )
    of_peer = _ratio(contest.net_seconds(GROUP_BY.name), ours)
    failed = bool(contest.of(GROUP_BY.name)) and of_peer is None
    least = LEAST_OF_PEER_MANY if many else LEAST_OF_PEER
    yield Verdict(
        name=f"{contest.table}_of_peer",
        text=f"{contest.table}: {GROUP_BY.name} / {NAME}",
        found=of_peer,
        shown="failed" if failed else _shown(of_peer),
        wanted=f"≥ {least:g}",
        # A peer that did not get there is no measure.
        met=of_peer >= least if judged and of_peer is not None else None,
    )
    best, name = min(
        (
            (seconds, peer.name)
            for peer in PEERS
            if (seconds := contest.net_seconds(peer.name)) is not None
            and all(run.complete for run in contest.of(peer.name))
        ),
        default=(None, "no peer"),
    )
    of_best = _ratio(best, ours)
    yield Verdict(
        name=f"{contest.table}_of_best",
        text=f"{contest.table}: best complete peer / {NAME}",
        found=of_best,
        shown=f"{_shown(of_best)} ({name})",
        wanted="> 1",
        met=of_best > 1 if large and of_best is not None else None,
    )


def _ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one is not None and other else None


def _shown(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _memory(run: Outcome) -> int | None:
    return run.rss_bytes


def _temporary(run: Outcome) -> int | None:
    return run.temp_bytes

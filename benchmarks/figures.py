"""All that a benchmark measured, as it is judged, shown and written down."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from .contest import Outcome
from .machine import Machine
from .truth import Found


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the benchmark was asked for."""

    rows: int
    #: how often floor and pgmend run over the large tables; every peer runs once
    rounds: int
    jobs: int
    #: as pgmend's option takes it
    memory: str
    seed: int
    #: the most seconds of one run of a peer
    limit: float
    #: the directory that the tables are kept in
    keep: str | None = None

    @property
    def tenth(self) -> int:
        """Rows of the smaller table that memory is compared with."""
        return self.rows // 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """One table and every run over it, in the order they happened."""

    #: for people
    table: str
    rows: int
    #: rows that have a key
    keyed_rows: int
    heap_bytes: int
    truth: Found
    outcomes: tuple[Outcome, ...]

    def of(self, name: str) -> list[Outcome]:
        """Return the runs of one contestant."""
        return [outcome for outcome in self.outcomes if outcome.contestant == name]

    @property
    def names(self) -> list[str]:
        """The contestants, in the order of their first runs."""
        return list(dict.fromkeys(outcome.contestant for outcome in self.outcomes))

    def net_seconds(self, name: str) -> float | None:
        """Return the median of a contestant's seconds, sweeps left out; None if it has none."""
        known = [run.net_seconds for run in self.of(name) if run.net_seconds is not None]
        return median(known) if known else None

    def most(self, name: str, figure: Callable[[Outcome], int | None]) -> int | None:
        """Return the most of a figure in any of a contestant's runs; None if it has none."""
        return _most(figure(run) for run in self.of(name))

    @property
    def wrong(self) -> list[Outcome]:
        """Runs that looked for all groups and did not find exactly the planted ones."""
        return [run for run in self.outcomes if run.wrong]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All that was measured."""

    asked: Asked
    machine: Machine
    #: when it began, as ISO 8601 has it
    made_at: str
    #: floor, pgmend and peers
    statuses: Contest
    conversations: Contest
    #: pgmend alone over a tenth of the statuses
    tenth: Contest
    #: pgmend alone over rows that are all one group
    one_group: Contest

    @property
    def contests(self) -> tuple[Contest, ...]:
        """Every contest, the large ones first."""
        return (self.statuses, self.conversations, self.tenth, self.one_group)

    @property
    def wrong(self) -> list[tuple[Contest, Outcome]]:
        """Every run that did not find what was planted."""
        return [(contest, run) for contest in self.contests for run in contest.wrong]

    def most(
        self, name: str, figure: Callable[[Outcome], int | None], *contests: Contest
    ) -> int | None:
        """Return the most of a figure in any run over some contests."""
        return _most(contest.most(name, figure) for contest in contests)


def _most(values: Iterable[int | None]) -> int | None:
    return max((value for value in values if value is not None), default=None)

"""Results of contests and sweeps: read, put in order, and their figures in words."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import click

FORMAT_VERSION = 1

Row = Mapping[str, Any]

#: names of contestants in the results; not imported from the modules that measure, so that a page
#: of old results can be made whatever became of those
FLOOR, OURS = "floor", "pgmend"
#: sweeps that are given as times the floor: name, what is varied, field that tells the rows apart
VARIED = (
    ("jobs", "jobs", "jobs"),
    ("order", "order of reading", "order"),
    ("key_types", "type of the key", "key"),
    ("duplicates", "share of duplicates", "label"),
    ("memory", "--memory", "memory"),
)
#: what stands where there is no figure
NONE = "-"
TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One contestant over one table: all its rounds."""

    name: str
    runs: tuple[Row, ...]
    #: median seconds of the floor over the same table
    floor: float | None
    #: groups that were planted
    planted: float | None

    @property
    def failed(self) -> list[Row]:
        """Rounds that failed."""
        return [run for run in self.runs if run.get("failure") is not None]

    def values(self, field: str) -> list[float]:
        """Return a figure of every round that counts: of failed ones only if all failed."""
        runs = [run for run in self.runs if run.get("failure") is None] or self.runs
        found = [net(run) if field == "net" else number(run, field) for run in runs]
        return [value for value in found if value is not None]

    def middle(self, field: str) -> float | None:
        """Return the median."""
        return median(values) if (values := self.values(field)) else None

    def most(self, field: str) -> float | None:
        """Return the most of any round."""
        return max(self.values(field), default=None)

    @property
    def times(self) -> float | None:
        """How many times the floor, sweeps left out; None where not all rounds went through."""
        return ratio(self.middle("net"), self.floor) if not self.failed else None

    @property
    def incomplete(self) -> bool:
        """Whether any round did not find all that was planted."""
        return any(run.get("complete") is False for run in self.runs)

    @property
    def note(self) -> str:
        """What there is to say against it."""
        if self.failed:
            some = len(self.failed) < len(self.runs)
            told = f"{len(self.failed)} of {len(self.runs)} rounds failed" if some else "failed"
            return f"{told}: {printable(self.failed[0]['failure'], 200)}"
        if not self.incomplete:
            return ""
        found = min(self.values("groups"), default=None)
        if found is None or self.planted is None:
            return "incomplete"
        return f"incomplete: found {found:,.0f} of {self.planted:,.0f} groups"


def standings(contest: Row) -> list[Standing]:
    """Return the contestants, the quickest first; those without a time last."""
    runs: dict[str, list[Row]] = {}
    for run in contest.get("outcomes") or ():
        runs.setdefault(printable(run.get("contestant"), 60), []).append(run)
    seconds = [
        value
        for run in runs.get(FLOOR, ())
        if run.get("failure") is None and (value := net(run)) is not None
    ]
    floor = median(seconds) if seconds else None
    planted = number(contest.get("truth") or {}, "groups")
    standing = [
        Standing(name=name, runs=tuple(rounds), floor=floor, planted=planted)
        for name, rounds in runs.items()
    ]
    return sorted(standing, key=lambda one: (number_or(one.middle("seconds"), math.inf), one.name))


def number(row: Row, field: str) -> float | None:
    """Return a figure, or None where there is none."""
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value


def number_or(value: float | None, otherwise: float) -> float:
    """Return the figure, or what to take where there is none; zero is a figure."""
    return otherwise if value is None else value


def net(row: Row) -> float | None:
    """Return the seconds without the sweep: what is judged."""
    seconds = number(row, "seconds")
    return None if seconds is None else seconds - number_or(number(row, "sweep_seconds"), 0)


def ratio(value: float | None, other: float | None) -> float | None:
    """Divide where both are known."""
    return value / other if value is not None and other else None


def of_floor(row: Row) -> float | None:
    """Return how many times the floor a row of a sweep took."""
    return ratio(net(row), number(row, "floor_seconds"))


def printable(text: object, most: int) -> str:
    """Return one line without control characters, cut where it is too long."""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def count(value: float | None) -> str:
    """Return a number of rows in words."""
    if value is None:
        return NONE
    return f"{value / 1e6:,.6g} million" if value >= 1e6 else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """Return seconds with three digits that matter."""
    if value is None:
        return NONE
    return f"{value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f} s"


def size(value: float | None) -> str:
    """Return bytes as MB, a million each."""
    if not value:
        return NONE if value is None else "0"
    return f"{value / 1e6:,.{0 if value >= 10e6 else 1 if value >= 1e5 else 3}f} MB"


def contests(results: Row) -> Iterator[tuple[str, Row]]:
    """Yield every table's contest with a name for its files."""
    taken: set[str] = set()
    for contest in results.get("contests") or ():
        name = re.sub(r"[^a-z0-9]+", "_", str(contest.get("table")).lower())
        while name in taken:
            name += "_again"
        taken.add(name)
        yield name, contest


def read(path: Path) -> tuple[dict[str, Any], str]:
    """Return results and the text to keep them as. Raises click.UsageError."""
    try:
        results = json.loads(path.read_text("utf-8"))
        text = json.dumps(results, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    except ValueError as error:  # of Unicode and of JSON
        raise click.UsageError(f"{path} does not hold JSON: {error}") from error
    version = results.get("format_version") if isinstance(results, dict) else None
    if type(version) is not int or version != FORMAT_VERSION:  # True is 1
        raise click.UsageError(
            f"{path} has format_version {version!r}; this program reads {FORMAT_VERSION} alone"
        )
    for where, rows in (
        *((name, results.get(name)) for name in ("contests", "verdicts")),
        *((f"sweeps.{name}", rows) for name, rows in (results.get("sweeps") or {}).items()),
    ):
        if not isinstance(rows or [], list) or not all(isinstance(row, dict) for row in rows or ()):
            raise click.UsageError(f"{path}: {where} is not a list of objects")
    return results, text + "\n"

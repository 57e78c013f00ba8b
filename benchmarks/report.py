"""The figures, as a table for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from .contest import Outcome
from .course import Contest, Figures
from .targets import FROM_ROWS, Verdict, verdicts

FORMAT_VERSION = 1
_HEADER = ("", "rows", "seconds", "of them sweep", "process", "temporary", "memory", "groups")
_WORD = {True: "PASS", False: "FAIL", None: "-"}


def as_json(figures: Figures) -> str:
    """Return one JSON object on one line."""
    return json.dumps(
        {
            "format_version": FORMAT_VERSION,
            "asked": asdict(figures.asked),
            "machine": asdict(figures.machine),
            "statuses": _contest(figures.statuses),
            "tenth": _contest(figures.tenth),
            "one_group": _contest(figures.one_group),
            "verdicts": {
                verdict.name: {
                    "found": verdict.found,
                    "wanted": verdict.wanted,
                    "met": verdict.met,
                }
                for verdict in verdicts(figures)
            },
            "as_planted": not figures.wrong,
        }
    )


def as_text(figures: Figures) -> str:
    """Return the lines for a terminal."""
    asked, machine = figures.asked, figures.machine
    settings = ", ".join(f"{name} {value}" for name, value in machine.settings.items())
    packages = ", ".join(f"{name} {value}" for name, value in machine.packages.items())
    lines = [
        f"{machine.processor}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB",
        f"{machine.kernel}, load {machine.load:.2f} before",
        f"PostgreSQL {machine.postgresql}: {settings}",
        f"Python {machine.python}, {packages}",
        f"statuses: {asked.rows:,} rows, {figures.statuses.heap_bytes / 1e6:,.0f} MB",
        f"pgmend: --jobs {asked.jobs} --memory {asked.memory}; seed {asked.seed}",
        "",
        *aligned([_HEADER, *_rows(figures)]),
        "",
        *aligned([judged(verdict) for verdict in verdicts(figures)], left=(0,)),
        *_truth(figures),
    ]
    return "\n".join(lines)


def _contest(contest: Contest) -> dict[str, Any]:
    return {
        "rows": contest.rows,
        "heap_bytes": contest.heap_bytes,
        "planted": asdict(contest.truth),
        "runs": [asdict(outcome) for outcome in contest.outcomes],
    }


def _rows(figures: Figures) -> Iterator[Sequence[str]]:
    for outcome in figures.statuses.outcomes:
        yield _row(outcome.contestant, outcome)
    for outcome in figures.tenth.outcomes:
        yield _row(f"{outcome.contestant}, a tenth", outcome)
    for outcome in figures.one_group.outcomes:
        yield _row(f"{outcome.contestant}, all one group", outcome)


def _row(label: str, outcome: Outcome) -> Sequence[str]:
    return (
        label,
        f"{outcome.rows:,}",
        f"{outcome.seconds:.2f}",
        f"{outcome.sweep_seconds:.2f}" if outcome.sweep_seconds else "-",
        f"{outcome.process_seconds:.2f}",
        f"{outcome.temp_bytes / 1e6:,.0f} MB" if outcome.temp_bytes else "0",
        f"{outcome.rss_bytes / 1e6:.0f} MB",
        f"{outcome.found.groups:,}" if outcome.found else "-",
    )


def judged(verdict: Verdict) -> Sequence[str]:
    """Return the cells of one verdict."""
    return (verdict.text, f"wanted {verdict.wanted}:", verdict.shown, _WORD[verdict.met])


def _truth(figures: Figures) -> Iterator[str]:
    if any(verdict.met is None for verdict in verdicts(figures)):
        yield f"A dash: not judged below {FROM_ROWS:,} rows, or with other settings."
    for outcome in figures.wrong:
        found = outcome.found
        counts = f"{found.groups:,} groups of {found.rows_in_groups:,} rows" if found else ""
        yield f"WRONG: {outcome.contestant} found {counts}, not what was planted."
    if not figures.wrong:
        truth = figures.statuses.truth
        yield (
            f"Every run found what was planted: {truth.groups:,} groups of"
            f" {truth.rows_in_groups:,} rows in {figures.asked.rows:,}."
        )


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> Iterator[str]:
    """Pad the columns; all but ``left`` are flush right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(
            text.ljust(width) if place in left else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()

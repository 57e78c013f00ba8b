"""The figures, as tables for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from ..report import aligned, judged
from .course import Figures
from .peer import FIND
from .targets import FROM_ROWS, planned_ratio, verdicts, whole_ratio

FORMAT_VERSION = 1
_HEADER = ("pgmend", "seconds", "process", "temporary", "memory")


def as_json(figures: Figures) -> str:
    """Return one JSON object on one line."""
    told = asdict(figures)
    # JSON has no numbers of 64 bits that every reader takes.
    for held in (told, told["ours"]):
        for name in ("before", "repaired", "undone"):
            if name in held:
                held[name] = {
                    table: {"rows": rows, "hash": str(mixed)}
                    for table, (rows, mixed) in held[name].items()
                }
    return json.dumps(
        {
            "format_version": FORMAT_VERSION,
            **told,
            "best": figures.best.name,
            "best_seconds": figures.best.seconds,
            "with_plan_of_peer": planned_ratio(figures),
            "whole_of_peer": whole_ratio(figures),
            "verdicts": {
                verdict.name: {
                    "found": verdict.found,
                    "wanted": verdict.wanted,
                    "met": verdict.met,
                }
                for verdict in verdicts(figures)
            },
        }
    )


def as_text(figures: Figures) -> str:
    """Return the lines for a terminal."""
    shape, machine = figures.asked.shape, figures.machine
    settings = ", ".join(f"{name} {value}" for name, value in machine.settings.items())
    sizes = (
        f"four tables of {shape.rows:,} rows, {figures.heap_bytes / 1e6:,.0f} MB;"
        f" {shape.groups:,} groups of two"
    )
    others = (
        f"plan and repair / SQL: {planned_ratio(figures):.2f};"
        f" with the search of both: {whole_ratio(figures):.2f}"
    )
    return "\n".join(
        [
            f"{machine.processor}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB",
            f"{machine.kernel}, load {machine.load:.2f} before",
            f"PostgreSQL {machine.postgresql}: {settings}",
            sizes,
            "",
            *aligned(list(_peers(figures))),
            "",
            *aligned([_HEADER, *_ours(figures)]),
            "",
            f"batches: {figures.ours.batches}",
            f"locks seen from outside, repair: {figures.ours.repair_locks or 'none'}",
            f"locks seen from outside, undo: {figures.ours.undo_locks or 'none'}",
            *_writer(figures),
            others,
            "",
            *aligned([judged(verdict) for verdict in verdicts(figures)]),
            *_truth(figures),
        ]
    )


def _peers(figures: Figures) -> Iterator[Sequence[str]]:
    """Yield a line for every step of any peer, in their order, and the sums."""
    yield ("step", *(outcome.name for outcome in figures.peers), "rows")
    names = dict.fromkeys(step for outcome in figures.peers for step in outcome.steps)
    for name in names:
        changed = next((run.rows[name] for run in figures.peers if name in run.rows), None)
        yield (
            f"{name} (not counted)" if name == FIND else name,
            *(
                f"{outcome.steps[name]:.2f}" if name in outcome.steps else "-"
                for outcome in figures.peers
            ),
            "" if changed is None else f"{changed:,}",
        )
    yield ("all", *(f"{outcome.seconds:.2f}" for outcome in figures.peers), "")


def _ours(figures: Figures) -> Iterator[Sequence[str]]:
    for step in figures.ours.steps:
        yield (
            step.name,
            f"{step.seconds:.2f}",
            f"{step.process_seconds:.2f}",
            f"{step.temp_bytes / 1e6:,.0f} MB" if step.temp_bytes else "0",
            f"{step.rss_bytes / 1e6:.0f} MB",
        )


def _writer(figures: Figures) -> Iterator[str]:
    writes = figures.ours.writes
    if writes is None:
        return
    yield f"a writer alone: {writes.alone}"
    yield f"a writer beside the repair: {writes.beside}"
    yield f"updates that the lying index refused: {writes.refused:,}"
    yield f"rows that undo refused, because they were changed since: {_refused(figures):,}"


def _refused(figures: Figures) -> int:
    return int(figures.ours.undo.told["refused"])


def _truth(figures: Figures) -> Iterator[str]:
    if any(verdict.met is None for verdict in verdicts(figures)):
        yield f"A dash: not judged below {FROM_ROWS:,} rows, or beside a writer."
    for words in figures.wrong:
        yield f"WRONG: {words}."
    if not figures.wrong and _refused(figures):
        yield "All left the same rows."
    elif not figures.wrong:
        yield "All left the same rows, and undo left those that there were before."

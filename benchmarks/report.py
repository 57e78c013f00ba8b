"""The figures, as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from .contest import Outcome
from .figures import Contest, Figures
from .floor import FLOOR
from .targets import FROM_ROWS, Verdict, verdicts

_HEADER = (
    "", "min s", "median", "max", "\N{MULTIPLICATION SIGN} floor", "of them sweep",
    "client memory", "server memory", "temporary", "own files", "network", "groups found",
    "resumes",
)  # fmt: skip
_WORD = {True: "PASS", False: "FAIL", None: "-"}


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
        f"pgmend: --jobs {asked.jobs} --memory {asked.memory}; seed {asked.seed}",
    ]
    for contest in figures.contests:
        lines += ["", *_contest(contest)]
    lines += [
        "",
        *aligned([judged(verdict) for verdict in verdicts(figures)], left=(0,)),
        *_truth(figures),
    ]
    return "\n".join(lines)


def judged(verdict: Verdict) -> Sequence[str]:
    """Return the cells of one verdict."""
    return (verdict.text, f"wanted {verdict.wanted}:", verdict.shown, _WORD[verdict.met])


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> Iterator[str]:
    """Pad the columns; all but ``left`` are flush right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    for row in rows:
        yield "  ".join(
            text.ljust(width) if place in left else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()


def _contest(contest: Contest) -> Iterator[str]:
    yield f"{contest.table}: {contest.rows:,} rows, {contest.heap_bytes / 1e6:,.0f} MB"
    names = contest.names
    width = max(map(len, names))
    rows: list[Sequence[str]] = [(_HEADER[0].ljust(width), *_HEADER[1:])]
    failed = {}
    for name in names:
        runs = [run for run in contest.of(name) if run.failure is None]
        failed[name] = [run for run in contest.of(name) if run.failure is not None]
        if runs:
            rows.append((name.ljust(width), *_row(contest, name, runs)))
    yield from aligned(rows)
    for name in names:
        for run in failed[name]:
            yield f"{name.ljust(width)}  failed: {run.failure}"


def _row(contest: Contest, name: str, runs: Sequence[Outcome]) -> Sequence[str]:
    seconds = [run.seconds for run in runs if run.seconds is not None]
    net, floor = contest.net_seconds(name), contest.net_seconds(FLOOR.name)
    swept = median(run.sweep_seconds for run in runs)
    last = runs[-1]
    return (
        f"{min(seconds):.2f}",
        f"{median(seconds):.2f}",
        f"{max(seconds):.2f}",
        f"{net / floor:.2f}" if net is not None and floor else "-",
        f"{swept:.2f}" if swept else "-",
        _size(contest.most(name, lambda run: run.rss_bytes)),
        _size(contest.most(name, lambda run: run.server_private_bytes)),
        _size(contest.most(name, lambda run: run.temp_bytes)),
        _size(contest.most(name, lambda run: run.disk_bytes)),
        _size(contest.most(name, lambda run: run.network_bytes)),
        f"{last.found.groups:,} of {contest.truth.groups:,}" if last.found else "-",
        "yes" if last.resumes else "no",
    )


def _size(count: int | None) -> str:
    if count is None:
        return "-"
    if count == 0:
        return "0"
    return f"{count / 1e6:,.0f} MB" if count >= 10_000_000 else f"{count / 1e6:,.2f} MB"


def _truth(figures: Figures) -> Iterator[str]:
    if any(verdict.met is None for verdict in verdicts(figures)):
        yield f"A dash: not judged below {FROM_ROWS:,} rows, or with other settings."
    for contest, outcome in figures.wrong:
        found = outcome.found
        counts = f"{found.groups:,} groups of {found.rows_in_groups:,} rows" if found else ""
        yield (
            f"WRONG: {outcome.contestant} found {counts} in {contest.table},"
            " not what was planted."
        )
    if not figures.wrong:
        truth = figures.statuses.truth
        yield (
            f"Every complete run found what was planted: {truth.groups:,} groups of"
            f" {truth.rows_in_groups:,} rows in {figures.asked.rows:,}."
        )

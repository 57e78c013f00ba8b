"""``python -m benchmarks.page RESULTS.json --into FOLDER``: results as a page for people."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import click

from . import plots
from .command import Code, run, tell
from .sentences import (
    titled,
    told,
    told_five,
    told_kills,
    told_live,
    told_memory,
    told_rows,
    told_varied,
)  # fmt: skip
from .standing import (
    FLOOR,
    NONE,
    OURS,
    VARIED,
    Row,
    contests,
    count,
    number,
    of_floor,
    printable,
    read,
    standings,
)  # fmt: skip
from .standing import seconds as in_seconds
from .standing import size as in_mb

#: who is expected in a contest, and how the name is known whatever its exact wording
EXPECTED = {
    FLOOR: FLOOR,
    OURS: OURS,
    "GROUP BY": "GROUP BY",
    "GROUP BY, 1 GB work_mem": "GROUP BY.*work_mem.*",
    "window function": "window.*",
    "COPY | sort | uniq": ".*sort.*uniq.*",
    "ADBC into DuckDB or polars": ".*(DuckDB|polars).*",
    "Python script": "Python.*",
    "CREATE UNIQUE INDEX": "CREATE UNIQUE INDEX.*",
}
#: plots of a contest
_KINDS = ("peers", "memory")
_WORD = {True: "met", False: "**missed**", None: "not judged"}
#: what Markdown would read as more than a letter
_ENTITIES = (
    {ord(c): f"&#{ord(c)};" for c in "[]`*$~"}
    | {ord(c): f"\\{c}" for c in "|\\"}
    | {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}
)

#: heading, and what stands below it
Column = tuple[str, Callable[[Row], str]]
#: name, heading, the sentence, and the columns
Sweep = tuple[str, str, Callable[[Sequence[Row]], str], Sequence[Column]]


def plain(text: object, most: int = 200) -> str:
    """Return any text as one line that means nothing to Markdown, in a table or elsewhere."""
    # An underscore within a word is no emphasis: work_mem stays readable.
    return re.sub(r"(?<!\w)_|_(?!\w)", "&#95;", printable(text, most).translate(_ENTITIES))


def rendered(results: Row, titles: Mapping[str, str], missing: str = "") -> str:
    """Return the page. ``titles`` are of the plots there are, ``missing`` why there are none."""
    tables = list(contests(results))
    lines = [
        "# Results", "",
        "[Benchmarks](../benchmarks.md) tells what is measured and what the words mean;",
        "[results.json](results.json) has every figure. MB are millions of bytes.",
        f"Measured {plain(results.get('made_at', 'at an unknown time'))}.", "",
        *_headlines(results),
        *_verdicts(results.get("verdicts") or ()),
        *_machine(results.get("machine") or {}, results.get("asked") or {}),
    ]  # fmt: skip
    if missing:
        lines += ["", f"Plots: not drawn: {missing}"]
    if not tables:
        lines += ["", "## Contests", "", "not run: no contest"]
    for name, contest in tables:
        lines += _contest(contest, [_plot(titles, f"{kind}_{name}") for kind in _KINDS])
    lines += _sweeps(results.get("sweeps") or {}, titles)
    lines += ["", "## Make it again", "", "```console", "$ make bench-page", "```"]
    return "\n".join(lines) + "\n"


def _headlines(results: Row) -> Iterator[str]:
    for _, contest in contests(results):
        yield f"- {plain(told(contest), 400)}."
        yield f"- {plain(told_memory(contest), 400)}."
    sweeps = results.get("sweeps") or {}
    for name, tell_of in (("rows", told_rows), ("live", told_live)):
        if rows := sweeps.get(name):
            yield f"- {plain(tell_of(rows), 400)}."


def _verdicts(verdicts: Sequence[Row]) -> Iterator[str]:
    yield from ("", "## Wanted and found", "")
    if not verdicts:
        yield "not run: no figure was judged"
        return
    met = sum(1 for verdict in verdicts if verdict.get("met") is True)
    judged = sum(1 for verdict in verdicts if verdict.get("met") is not None)
    yield f"As wanted: {met} of {judged}. Not judged: {len(verdicts) - judged}."
    yield ""
    yield from _table(
        verdicts,
        ("Figure", lambda row: plain(row.get("text"))),
        ("Wanted", lambda row: plain(row.get("wanted"))),
        ("Found", lambda row: plain(row.get("shown"))),
        ("", lambda row: _WORD.get(row.get("met"), "not judged")),
    )


def _machine(machine: Row, asked: Row) -> Iterator[str]:
    yield from ("", "## Machine and settings", "")
    memory = number(machine, "memory_bytes")
    known = {
        "Processor": machine.get("processor"),
        "Cores": machine.get("cores"),
        "Memory": None if memory is None else f"{memory / 2**30:.0f} GiB",
        "Load before": _times(number(machine, "load")),
        "Kernel": machine.get("kernel"),
        "PostgreSQL": machine.get("postgresql"),
        "Settings of the server": _pairs(machine.get("settings")),
        "Python": machine.get("python"),
        "Packages": _pairs(machine.get("packages")),
        "Asked": _pairs(asked),
    }
    yield from ("| | |", "|---|---|")
    for name, value in known.items():
        yield f"| {name} | {'not told' if value in {None, ''} else plain(value)} |"


def _pairs(values: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name} {value}" for name, value in sorted((values or {}).items()))


def _contest(contest: Row, pictures: Iterable[Sequence[str]]) -> Iterator[str]:
    standing = standings(contest)
    truth = contest.get("truth") or {}
    groups, inside = (count(number(truth, field)) for field in ("groups", "rows_in_groups"))
    yield from (
        "", f"## {plain(contest.get('table'))}, {count(number(contest, 'rows'))} rows", "",
        f"The table has {in_mb(number(contest, 'heap_bytes'))}, and {groups} groups of duplicates",
        f"with {inside} rows. Of floor: medians without the sweep, divided by the floor's. Memory,",
        "files and network: the most of any round.",
        *chain.from_iterable(pictures), "",
    )  # fmt: skip
    yield from _table(
        [{"one": one} for one in standing],
        ("Contestant", lambda row: plain(row["one"].name)),
        ("Rounds", lambda row: str(len(row["one"].runs))),
        ("Min", lambda row: in_seconds(min(row["one"].values("seconds"), default=None))),
        ("Median", lambda row: in_seconds(row["one"].middle("seconds"))),
        ("Max", lambda row: in_seconds(row["one"].most("seconds"))),
        ("Of them sweep", lambda row: in_seconds(row["one"].middle("sweep_seconds") or None)),
        ("Process", lambda row: in_seconds(row["one"].middle("process_seconds"))),
        ("Of floor", lambda row: _times(row["one"].times)),
        ("Note", lambda row: plain(row["one"].note)),
    )
    yield ""
    yield from _table(
        [{"one": one} for one in standing],
        ("Contestant", lambda row: plain(row["one"].name)),
        ("Client memory", lambda row: in_mb(row["one"].most("rss_bytes"))),
        ("Server, private", lambda row: in_mb(row["one"].most("server_private_bytes"))),
        ("Temporary files", lambda row: in_mb(row["one"].most("temp_bytes"))),
        ("Network", lambda row: in_mb(row["one"].most("network_bytes"))),
        ("Groups", lambda row: count(min(row["one"].values("groups"), default=None))),
        ("Complete", lambda row: _agreed(row["one"].runs, "complete")),
        ("Resumes", lambda row: _agreed(row["one"].runs, "resumes")),
    )
    absent = [
        name
        for name, known in EXPECTED.items()
        if not any(re.fullmatch(known, one.name, re.IGNORECASE) for one in standing)
    ]
    if absent and len(standing) > 1:
        yield from ("", f"not run: {'; '.join(map(plain, absent))}")


def _sweeps(sweeps: Mapping[str, Sequence[Row]], titles: Mapping[str, str]) -> Iterator[str]:
    shared: tuple[Column, ...] = (
        ("Seconds", lambda row: in_seconds(number(row, "seconds"))),
        ("Of them sweep", lambda row: in_seconds(number(row, "sweep_seconds"))),
        ("Floor", lambda row: in_seconds(number(row, "floor_seconds"))),
        ("Of floor", lambda row: _times(of_floor(row))),
    )
    memory: Column = ("Client memory", lambda row: in_mb(number(row, "rss_bytes")))
    groups: Column = ("Groups", lambda row: count(number(row, "groups")))
    more: dict[str, Sequence[Column]] = {"duplicates": (groups, memory), "memory": (memory,)}
    varied: list[Sweep] = []
    for name, what, field in VARIED:
        first: Column = (what, partial(_cell, field))
        told_by = partial(told_varied, what, field)
        varied.append((name, f"By {what}", told_by, (first, *shared, *more.get(name, ()))))
    tables: list[Sweep] = [
        ("rows", "Rows", told_rows,
         (("Rows", lambda row: count(number(row, "rows"))), *shared, memory)),
        *varied,
        ("live", "A live server", told_live,
         (("Load", partial(_cell, "load")),
          ("Transactions per second", lambda row: count(number(row, "tps"))),
          ("p99, ms", lambda row: _times(number(row, "p99_ms"))))),
        ("five_keys", "Five keys of one table", told_five,
         (("", partial(_cell, "what")), shared[0])),
        ("kills", "Killed and resumed", told_kills,
         (("Killed after", partial(_cell, "phase")),
          ("Lost", lambda row: in_seconds(number(row, "seconds_lost"))))),
    ]  # fmt: skip
    for name, heading, tell_of, columns in tables:
        rows = sweeps.get(name) or ()
        yield from ("", f"## {heading}", "")
        if not rows:
            yield f"not run: {name}"
            continue
        yield f"{plain(tell_of(rows), 400)}."
        yield from _plot(titles, name)
        if name in {of[0] for of in varied}:
            yield from _plot(titles, "sweeps")
            varied.clear()  # one plot for all of them, beside the first
        yield ""
        yield from _table(rows, *columns)
    unknown = sorted(set(sweeps) - {table[0] for table in tables})
    if unknown:
        yield from ("", f"In results.json but not shown here: {plain(', '.join(unknown))}.")


def _table(rows: Sequence[Row], *columns: Column) -> Iterator[str]:
    yield f"| {' | '.join(name for name, _ in columns)} |"
    yield f"|{'---|' * len(columns)}"
    for row in rows:
        yield f"| {' | '.join(cell(row) for _, cell in columns)} |"


def _cell(field: str, row: Row) -> str:
    return plain(row.get(field, NONE))


def _times(value: float | None) -> str:
    return NONE if value is None else f"{value:.2f}"


def _agreed(runs: Sequence[Row], field: str) -> str:
    """Return what all rounds say; one no is a no."""
    said = {run.get(field) for run in runs}
    return "no" if False in said else "yes" if said == {True} else NONE


def _plot(titles: Mapping[str, str], name: str) -> Sequence[str]:
    return ("", f"![{plain(titles[name], 400)}]({name}.svg)") if name in titles else ()


@click.command()
@click.argument("results", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--into", type=click.Path(file_okay=False, path_type=Path), required=True,
    help="Folder for results.md, results.json and the plots.",
)  # fmt: skip
def page(*, results: Path, into: Path) -> Code:
    """Write RESULTS as a page of tables and plots."""
    read_results, text = read(results)
    titles, missing = titled(read_results), ""
    into.mkdir(parents=True, exist_ok=True)
    try:
        plots.draw(read_results, titles, into)
    except ModuleNotFoundError as error:
        titles, missing = {}, f"{error.name} is not installed (`pip install 'pgmend[bench]'`)"
        tell(f"no plots: {missing}")
    (into / "results.json").write_text(text, "utf-8")
    (into / "results.md").write_text(rendered(read_results, titles, missing), "utf-8")
    return Code.MEASURED


if __name__ == "__main__":
    sys.exit(run(page))

"""``python -m benchmarks.sweeps``: change one setting at a time, add what comes of it to a file."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from dedupe.lab import Server

from .. import need, results
from ..cache import place
from ..command import Code, check_keep, run, tell
from ..table import Store, Table, statuses
from . import keys, kills, live, settings, shares
from .scanned import Sweeper

#: those that read one and the same table of statuses
_OVER_STATUSES: Mapping[str, Callable[[Sweeper, Server, Table], Iterator[dict[str, Any]]]] = {
    "jobs": lambda sweeper, _, table: settings.by_jobs(sweeper, table),
    "order": lambda sweeper, _, table: settings.by_order(sweeper, table),
    "memory": lambda sweeper, _, table: settings.by_memory(sweeper, table),
    "kills": lambda sweeper, _, table: kills.kills(sweeper, table),
    "live": live.live,
    "five_keys": lambda sweeper, _, table: keys.five(sweeper, table),
}
#: those that have tables of their own
_OVER_OTHERS: Mapping[str, Callable[[Sweeper, Store, int, int], Iterator[dict[str, Any]]]] = {
    "key_types": keys.by_kind,
    "duplicates": shares.by_share,
}
_NAMES = ("rows", *_OVER_STATUSES, *_OVER_OTHERS)
#: sizes of the table as shares of the largest
_SIZES = (50, 10, 5, 2, 1)


@click.command()
@click.option("--rows", type=click.IntRange(min=10_000), default=10_000_000, show_default=True)
@click.option(
    "--most", type=click.IntRange(min=10_000), help="The largest table of the sweep over rows."
)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="For other rows.")
@click.option("--only", multiple=True, type=click.Choice(_NAMES), help="This sweep; repeatable.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep server and tables in this directory, and use them again.",
)
@click.option(
    "--into",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The results of a benchmark, to add the sweeps to.",
)
def sweep(
    *,
    rows: int,
    most: int | None,
    rounds: int,
    seed: int,
    only: tuple[str, ...],
    keep: Path | None,
    into: Path | None,
) -> Code:
    """Measure a scan with one setting changed at a time."""
    check_keep(keep)
    known = results.load(into) if into else {}
    wanted = only or _NAMES
    largest = most or rows
    needed, where = need.check(max(rows, largest), keep, seed)
    tell(f"sweeps need up to {needed / 1e9:.1f} GB under {where}")
    found: dict[str, list[dict[str, Any]]] = {}

    def take(name: str, measured: Iterator[dict[str, Any]]) -> None:
        """Keep each row at once: a later one may fail."""
        found[name] = []
        for row in measured:
            found[name].append(row)
            if into is not None:
                known["sweeps"] = {**known.get("sweeps", {}), **found}
                results.replace(into, known)

    with (
        tempfile.TemporaryDirectory(prefix="pgmend-benchmark-") as scratch,
        place(keep) as (lab, store),
    ):
        sweeper = Sweeper(rounds=rounds, scratch=Path(scratch), tell=tell)
        for name in (name for name in _OVER_OTHERS if name in wanted):
            take(name, _OVER_OTHERS[name](sweeper, store, rows, seed))
        if over := [name for name in _OVER_STATUSES if name in wanted]:
            with statuses(store, rows, seed) as table:
                for name in over:
                    take(name, _OVER_STATUSES[name](sweeper, lab, table))
        if "rows" in wanted:
            sizes = tuple(largest // share for share in _SIZES)
            take("rows", settings.by_rows(sweeper, store, sizes, seed))
    print(json.dumps(found))
    return Code.MEASURED


def main() -> Code:
    """Sweep and say how it ended."""
    return run(sweep)


if __name__ == "__main__":
    sys.exit(main())

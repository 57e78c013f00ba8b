"""``python -m benchmarks.regression``: has a scan become slower? Ratios, for CI.

Both ratios are to the floor of the same round, so that a slow machine slows both sides: the
time of a scan, and the processor time that the scan takes in its own process. The second
hardly feels what else the machine does. Medians of the rounds are judged.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import click

from . import need
from .cache import place
from .command import Code, run, tell
from .floor import FLOOR
from .sweeps.scanned import scanned_for
from .table import Table, statuses, warm

#: what a sound scan stays below; docs/benchmarks.md has the noise that they were set from
MOST_SECONDS = 2.6
MOST_CPU_SECONDS = 1.4
_SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """A scan over the floor of the same round."""

    #: time of the scan
    seconds: float
    #: processor time of its process, the server's left out
    cpu_seconds: float


def slower(found: Ratios) -> bool:
    """Tell whether a scan takes more than a sound one does."""
    return found.seconds > MOST_SECONDS or found.cpu_seconds > MOST_CPU_SECONDS


@click.command()
@click.option("--rows", type=click.IntRange(min=10_000), default=5_000_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def regression(*, rows: int, rounds: int, as_json: bool) -> Code:
    """Compare a scan with the floor; exit with 1 where it takes too much of it."""
    need.check(rows, None, _SEED)
    with tempfile.TemporaryDirectory(prefix="pgmend-benchmark-") as scratch, place(None) as (
        _,
        store,
    ):
        tell(f"building {rows:,} statuses")
        with statuses(store, rows, _SEED) as table:
            # The first of each is not counted: it finds caches as the build left them.
            seen = [_once(table, Path(scratch)) for _ in range(rounds + 1)][1:]
    found = Ratios(
        seconds=median(one.seconds for one in seen),
        cpu_seconds=median(one.cpu_seconds for one in seen),
    )
    if as_json:
        print(json.dumps({**asdict(found), "rounds": [asdict(one) for one in seen]}))
    else:
        print(f"scan / floor: {found.seconds:.2f}, at most {MOST_SECONDS} is wanted")
        print(
            f"its own processor time / floor: {found.cpu_seconds:.2f},"
            f" at most {MOST_CPU_SECONDS} is wanted"
        )
        print("FAIL: a scan has become slower" if slower(found) else "PASS")
    return Code.MISSED if slower(found) else Code.MEASURED


def _once(table: Table, scratch: Path) -> Ratios:
    """Run the floor and a scan, each in a process of its own."""
    warm(table.dsn, table.name)
    floor = FLOOR.run(table, scratch).seconds or 0.0
    told = scanned_for(table, [[table.key]], scratch)
    return Ratios(seconds=told["seconds"] / floor, cpu_seconds=told["cpu_seconds"] / floor)


def main() -> Code:
    """Compare and say how it ended."""
    return run(regression)


if __name__ == "__main__":
    sys.exit(main())

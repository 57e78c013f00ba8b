"""``python -m benchmarks.repair``: measure, print the figures, leave nothing behind."""

from __future__ import annotations

import sys

import click

from .. import machine
from ..command import Code, run, tell
from . import report
from .course import Asked, measure
from .tables import Shape, needed_bytes
from .targets import verdicts

#: rows for one group, unless it is said otherwise
ROWS_PER_GROUP = 25


@click.command()
@click.option(
    "--rows", type=click.IntRange(min=10_000), default=5_000_000, show_default=True,
    help="Of each of the four tables.",
)  # fmt: skip
@click.option(
    "--groups", type=click.IntRange(min=1), show_default="a group for every 25 rows",
    help="Groups of two rows.",
)  # fmt: skip
@click.option("--writer", is_flag=True, help="Let somebody write while pgmend repairs.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--check", is_flag=True, help="Exit with 1 if a wanted figure is missed.")
def benchmark(*, rows: int, groups: int | None, writer: bool, as_json: bool, check: bool) -> Code:
    """Measure pgmend's repair and undo beside set-based SQL written by hand."""
    groups = groups or rows // ROWS_PER_GROUP
    if 2 * groups > rows:
        raise click.UsageError(f"{groups:,} groups of two take more than {rows:,} rows")
    asked = Asked(shape=Shape(rows=rows, groups=groups), writer=writer)
    needed, place = machine.check_space(rows, needed_bytes(rows))
    tell(f"{rows:,} rows need up to {needed / 1e9:.1f} GB under {place}")
    figures = measure(asked, tell)
    print(report.as_json(figures) if as_json else report.as_text(figures))
    if figures.wrong:
        return Code.FAILURE
    if check and any(verdict.met is False for verdict in verdicts(figures)):
        return Code.MISSED
    return Code.MEASURED


if __name__ == "__main__":
    sys.exit(run(benchmark))

"""``python -m benchmarks``: measure, print the figures, leave nothing behind."""

from __future__ import annotations

import sys

import click

from . import machine, report
from .command import Code, run, tell
from .course import Asked, measure
from .table import needed_bytes
from .targets import verdicts


@click.command()
@click.option("--rows", type=click.IntRange(min=10_000), default=1_000_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--memory", metavar="SIZE", default="64MB", show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="For other rows.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--check", is_flag=True, help="Exit with 1 if a wanted figure is missed.")
def benchmark(
    *, rows: int, rounds: int, jobs: int, memory: str, seed: int, as_json: bool, check: bool
) -> Code:
    """Measure pgmend beside a floor and a peer over Mastodon's statuses."""
    asked = Asked(rows=rows, rounds=rounds, jobs=jobs, memory=memory, seed=seed)
    needed, place = machine.check_space(rows, needed_bytes(rows))
    tell(f"{rows:,} rows need up to {needed / 1e9:.1f} GB under {place}")
    figures = measure(asked, tell)
    print(report.as_json(figures) if as_json else report.as_text(figures))
    if figures.wrong:
        return Code.FAILURE
    if check and any(verdict.met is False for verdict in verdicts(figures)):
        return Code.MISSED
    return Code.MEASURED


def main() -> Code:
    """Run the benchmark and say how it ended."""
    return run(benchmark)


if __name__ == "__main__":
    sys.exit(main())

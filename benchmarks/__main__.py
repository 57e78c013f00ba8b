"""``python -m benchmarks``: measure, print the figures, leave nothing behind but what is kept."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from . import need, report, results
from .command import Code, check_keep, run, tell
from .course import measure
from .figures import Asked
from .targets import FROM_ROWS, verdicts


@click.command()
@click.option("--rows", type=click.IntRange(min=10_000), default=1_000_000, show_default=True)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    help=f"Of floor and pgmend; 3 from {FROM_ROWS:,} rows, otherwise 1. Peers run once.",
)
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True)
@click.option("--memory", metavar="SIZE", default="64MB", show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="For other rows.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--check", is_flag=True, help="Exit with 1 if a wanted figure is missed.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep server and tables in this directory, and use them again.",
)
@click.option(
    "--limit",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=900.0,
    show_default=True,
    help="The most time for one peer.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the JSON object to this file as well.",
)
def benchmark(
    *,
    rows: int,
    rounds: int | None,
    jobs: int,
    memory: str,
    seed: int,
    as_json: bool,
    check: bool,
    keep: Path | None,
    limit: float,
    output: Path | None,
) -> Code:
    """Measure pgmend beside a floor and its peers over two of Mastodon's tables."""
    check_keep(keep)
    asked = Asked(
        rows=rows,
        rounds=rounds or (3 if rows >= FROM_ROWS else 1),
        jobs=jobs,
        memory=memory,
        seed=seed,
        limit=limit,
        keep=None if keep is None else str(keep.absolute()),
    )
    needed, place = need.check(rows, keep, seed)
    minutes = need.needed_seconds(rows) / 60
    tell(f"{rows:,} rows need up to {needed / 1e9:.1f} GB under {place}, and {minutes:.0f} minutes")
    figures = measure(asked, tell)
    if output is not None:
        results.write(output, figures)
    print(results.as_json(figures) if as_json else report.as_text(figures))
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

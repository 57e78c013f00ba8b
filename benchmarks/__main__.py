"""``python -m benchmarks``: measure, print the figures, leave nothing behind."""

from __future__ import annotations

import enum
import os
import signal
import sys
import time
from types import FrameType

import click

from dedupe.errors import DedupeError

from . import machine, report
from .course import Asked, measure
from .failure import BenchmarkFailed, TooLittleSpace
from .targets import verdicts


class Code(enum.IntEnum):
    """How it ended; the numbers mean what pgmend's own mean."""

    MEASURED = 0
    #: with --check: a figure is not as it is wanted
    MISSED = 1
    #: an option, or too small a disk
    USAGE = 2
    STOPPED = 3
    #: a run failed, or did not find what was planted
    FAILURE = 5


@click.command()
@click.option("--rows", type=click.IntRange(min=10_000), default=1_000_000, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=1, show_default=True)
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
    needed, place = machine.check_space(rows)
    _tell(f"{rows:,} rows need up to {needed / 1e9:.1f} GB under {place}")
    figures = measure(asked, _tell)
    print(report.as_json(figures) if as_json else report.as_text(figures))
    if figures.wrong:
        return Code.FAILURE
    if check and any(verdict.met is False for verdict in verdicts(figures)):
        return Code.MISSED
    return Code.MEASURED


def main() -> Code:
    """Run the benchmark and say how it ended."""
    signal.signal(signal.SIGTERM, _stop)
    # Would change what counts as the server's settings.
    os.environ.pop("PGOPTIONS", None)
    try:
        return Code(benchmark(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        return Code.USAGE
    except (click.Abort, KeyboardInterrupt):
        _tell("stopped")
        return Code.STOPPED
    except (BenchmarkFailed, DedupeError) as error:
        _tell(f"error: {error}")
        return Code.USAGE if isinstance(error, TooLittleSpace) else Code.FAILURE


def _tell(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

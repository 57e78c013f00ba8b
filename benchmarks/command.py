"""What every benchmark's command shares: how it tells, how it is stopped, how it ends."""

from __future__ import annotations

import enum
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import click

from dedupe.errors import DedupeError

from .failure import BenchmarkFailed, TooLittleSpace, UnfitCache


class Code(enum.IntEnum):
    """How it ended; the numbers mean what pgmend's own mean."""

    MEASURED = 0
    #: with --check: a figure is not as it is wanted
    MISSED = 1
    #: an option, too small a disk, or a directory of kept tables that does not fit
    USAGE = 2
    STOPPED = 3
    #: a run failed, or its result is not the one that is known to be right
    FAILURE = 5


def run(command: click.Command) -> Code:
    """Run a benchmark's command and say how it ended."""
    signal.signal(signal.SIGTERM, _stop)
    # Would change what counts as the server's settings.
    os.environ.pop("PGOPTIONS", None)
    try:
        return Code(command(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        return Code.USAGE
    except (click.Abort, KeyboardInterrupt):
        tell("stopped")
        return Code.STOPPED
    except (BenchmarkFailed, DedupeError) as error:
        tell(f"error: {error}")
        return Code.USAGE if isinstance(error, TooLittleSpace | UnfitCache) else Code.FAILURE


def check_keep(keep: Path | None) -> None:
    """Refuse kept tables beside a server that PGMEND_LAB_DSN names. Raises click.UsageError."""
    if keep is not None and os.environ.get("PGMEND_LAB_DSN"):
        raise click.UsageError("--keep has a server of its own: unset PGMEND_LAB_DSN")


def tell(line: str) -> None:
    """Write one line of progress to stderr."""
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt

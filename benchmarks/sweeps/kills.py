"""What a SIGKILL costs: the same scan killed once and run again, against one left alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Self

from ..bystander import bystander
from ..failure import BenchmarkFailed
from ..measure import environment
from ..ours import scan_command
from ..table import Table, warm
from .scanned import Sweeper

#: moments of the kills, as shares of the time that a scan takes when it is left alone
_MOMENTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97)


def kills(sweeper: Sweeper, table: Table) -> Iterator[dict[str, Any]]:
    """Yield for each kill its moment and the seconds it cost beyond a process's start.

    Cost: both processes together, less one that is left alone, less what one more process
    takes to start and to go on where another ended, with nothing left to do.
    """
    alone, started = [], []
    for number in range(sweeper.rounds):
        sweeper.tell(f"a scan that nobody kills, round {number + 1} of {sweeper.rounds}")
        with _place(sweeper, table) as run:
            alone.append(run.whole())
            # Finished by now, so this is only a start.
            started.append(run.whole())
    for share in _MOMENTS:
        sweeper.tell(f"a scan killed after {share:.0%}")
        with _place(sweeper, table) as run:
            first = run.killed(share * median(alone))
            if first is None:
                continue
            second = run.whole()
        lost = first + second - median(alone) - median(started)
        yield {"phase": f"{share:.0%} of its time", "seconds_lost": lost}


class _place:  # noqa: N801 -- read as the block that it opens
    """A run directory, somebody who writes beside it, and processes that scan into it."""

    def __init__(self, sweeper: Sweeper, table: Table) -> None:
        self._table = table
        self._root = Path(tempfile.mkdtemp(dir=sweeper.scratch))
        self.place = self._root / "run"
        self._bystander = bystander(table.dsn)

    def __enter__(self) -> Self:
        warm(self._table.dsn, self._table.name)
        self._bystander.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bystander.__exit__(None, None, None)
        shutil.rmtree(self._root, ignore_errors=True)

    def whole(self) -> float:
        """Scan, or go on, to the end; return the process's seconds."""
        begun = time.monotonic()
        child = self._start()
        code = child.wait()
        if code not in {0, 1}:
            raise BenchmarkFailed(f"a scan that was to go on ended with {code}")
        return time.monotonic() - begun

    def killed(self, after: float) -> float | None:
        """Kill a scan after so many seconds; return them, or None if it was quicker."""
        begun = time.monotonic()
        child = self._start()
        try:
            child.wait(after)
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            return time.monotonic() - begun
        return None

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            scan_command(self._table, self.place, "--json"),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=environment(self._table.dsn),
        )  # fmt: skip

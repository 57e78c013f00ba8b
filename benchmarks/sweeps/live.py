"""What others on the server notice of a scan: pgbench alone, beside a scan, beside a gentle one."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from dedupe.lab import Server

from ..failure import BenchmarkFailed
from ..measure import environment, open_target
from ..ours import scan_command
from ..program import tool
from ..table import Table, database, warm
from .scanned import Sweeper

#: seconds of one measurement
_SECONDS = 20
#: pgbench's scale: 16 MB each
_SCALE = 20
_CLIENTS = 4
NICE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Load:
    name: str
    #: options of the scan; None: nobody scans
    options: tuple[str, ...] | None


_LOADS = (
    _Load(name="alone", options=None),
    _Load(name="beside a scan", options=()),
    _Load(name=f"beside a scan with --nice {NICE}", options=("--nice", str(NICE))),
)


def live(sweeper: Sweeper, lab: Server, table: Table) -> Iterator[dict[str, Any]]:
    """Yield transactions a second and p99 in milliseconds for each load."""
    found: dict[str, list[tuple[float, float]]] = {load.name: [] for load in _LOADS}
    with database(lab, "pgbench") as dsn:
        _pgbench(dsn, sweeper.scratch, "-i", "-q", "-s", str(_SCALE))
        for number in range(sweeper.rounds):
            for load in _LOADS:
                sweeper.tell(f"pgbench {load.name}, round {number + 1} of {sweeper.rounds}")
                warm(table.dsn, table.name)
                with _scanning(sweeper, table, load.options):
                    found[load.name].append(_measured(dsn, sweeper.scratch))
    for load in _LOADS:
        rates, waits = zip(*found[load.name], strict=True)
        yield {"load": load.name, "tps": median(rates), "p99_ms": median(waits)}


def _measured(dsn: str, scratch: Path) -> tuple[float, float]:
    """Let pgbench work for a while; return transactions a second and p99 in milliseconds."""
    with tempfile.TemporaryDirectory(dir=scratch) as place:
        _pgbench(
            dsn, Path(place), "-n", "-b", "simple-update", "-c", str(_CLIENTS), "-j", "1",
            "-T", str(_SECONDS), "-l", "--log-prefix=latency",
        )  # fmt: skip
        # A line a transaction; its third word is the latency in microseconds.
        waits = [
            int(line.split()[2])
            for log in Path(place).glob("latency*")
            for line in log.read_text("ascii").splitlines()
        ]
    return len(waits) / _SECONDS, quantiles(waits, n=100)[98] / 1000


def _pgbench(dsn: str, where: Path, *options: str) -> None:
    done = subprocess.run(
        [tool("pgbench"), *options, open_target(dsn)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=where,
        env=environment(dsn),
    )  # fmt: skip
    if done.returncode:
        raise BenchmarkFailed(f"pgbench ended with {done.returncode}: {done.stderr.strip()}")


@contextmanager
def _scanning(sweeper: Sweeper, table: Table, options: Sequence[str] | None) -> Iterator[None]:
    """Scan again and again, until the block ends. Raises BenchmarkFailed."""
    if options is None:
        yield
        return
    ended = threading.Event()
    failed: list[str] = []
    place = Path(tempfile.mkdtemp(dir=sweeper.scratch))

    def scan() -> None:
        while not ended.is_set():
            child = subprocess.Popen(
                scan_command(
                    table, place / "run", "--fresh", *options, key=("--key", table.key)
                ),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                text=True, env=environment(table.dsn),
            )  # fmt: skip
            while child.poll() is None and not ended.wait(0.1):
                pass
            if child.poll() is None:
                child.terminate()
            _, errors = child.communicate()
            if not ended.is_set() and child.returncode not in {0, 1}:
                failed.append(errors.strip())
                return

    thread = threading.Thread(target=scan, name="scans")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        shutil.rmtree(place, ignore_errors=True)
    if failed:
        raise BenchmarkFailed(f"a scan beside pgbench failed: {failed[0]}")

"""Scan over and over, each time in a child that kills itself one step later than the last.

A step is what changes something on the disk: a write, a cut, a sync, a rename, an
unlink, a statement of SQLite's. Large writes are made in halves, so that a kill tears them.

usage: step_killer.py DSN FROM INTO FIRST STRIDE [fresh|confirming]
FROM is a run directory to begin with, or one that does not exist; the child that died
at step n, of FIRST, FIRST + STRIDE and so on, leaves INTO/n. Prints these numbers. With
``confirming`` a single child dies as confirm begins, and leaves INTO.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

import dedupe
from dedupe.confirm import Confirmer
from dedupe.scan import passes, workers

KEYS = [dedupe.MatchKey.from_columns("crowd", column) for column in ("name", "code")]


def kill_at(last: int) -> None:
    """Let this process die at its step number ``last``."""
    steps = itertools.count(1)

    def step() -> None:
        if next(steps) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    def counted(place: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(place, name)

        def call(*args: Any, **options: Any) -> Any:
            step()
            return real(*args, **options)

        setattr(place, name, call)

    for name in ("ftruncate", "fdatasync", "fsync"):
        counted(os, name)
    for name in ("rename", "unlink", "mkdir"):
        counted(Path, name)
    pwrite = os.pwrite

    def half(fd: int, data: memoryview, at: int) -> int:
        step()
        return pwrite(fd, data[: len(data) // 2] if len(data) > 10_000 else data, at)

    os.pwrite = half  # type: ignore[assignment]

    class Connection(sqlite3.Connection):
        def execute(self, *args: Any) -> sqlite3.Cursor:
            if not args[0].startswith(("SELECT", "PRAGMA")):
                step()
            return super().execute(*args)

        def executemany(self, *args: Any) -> sqlite3.Cursor:
            step()
            return super().executemany(*args)

    connect = sqlite3.connect
    sqlite3.connect = lambda *args, **options: connect(  # type: ignore[assignment]
        *args, **options, factory=Connection
    )


def write_before_the_sweep(dsn: str) -> None:
    """Let rows move between main pass and sweep."""
    real = passes.Passes._until_confirmed

    def written(self: passes.Passes, *args: Any) -> bool:
        with psycopg.connect(dsn) as connection:
            connection.execute("UPDATE crowd SET filler = filler || 'x' WHERE id % 7 = 0")
        return real(self, *args)

    passes.Passes._until_confirmed = written  # type: ignore[method-assign]


def scan(dsn: str, run: Path, *, fresh: bool) -> None:
    # A checkpoint after nearly every chunk.
    workers.CHECKPOINT_SECONDS = 0.0  # type: ignore[misc]
    dedupe.scan(dsn, KEYS, run=run, jobs=1, nice=10, fresh=fresh)


def child(work: Callable[[], None]) -> bool:
    """Run ``work`` in a child; returns whether it ended by itself."""
    pid = os.fork()
    if not pid:
        try:
            work()
        except BaseException:  # noqa: BLE001 - whatever it is, it ends the child
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code not in (0, -signal.SIGKILL):
        sys.exit(f"the child ended with {code}")
    return code == 0


def main() -> None:
    dsn, source, into, first, stride, *rest = sys.argv[1:]
    write_before_the_sweep(dsn)
    if "confirming" in rest:

        def die(*_: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        Confirmer.run = die  # type: ignore[assignment]
        assert not child(lambda: scan(dsn, Path(into), fresh=False))
        return
    for number in itertools.count(int(first), int(stride)):
        run = Path(into, str(number))
        if Path(source).exists():
            shutil.copytree(source, run)

        def work(number: int = number, run: Path = run) -> None:
            kill_at(number)
            scan(dsn, run, fresh="fresh" in rest)

        if child(work):
            return
        print(number, flush=True)


if __name__ == "__main__":
    main()

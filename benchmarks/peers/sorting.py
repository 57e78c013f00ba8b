"""Without Python or a query that groups: psql, sort and uniq in a pipe.

uniq names the keys that are there twice; their rows are then looked up by a second
reading of the table, joined with the keys in a temporary table.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.task import Task, answer, options, task

#: the memory that sort gets
_SORT_MEMORY = "1G"


def main() -> None:
    """Find the keys, then their rows."""
    told = task()
    os.environ["PGOPTIONS"] = options(told)
    os.environ["LC_ALL"] = "C"
    started = time.monotonic()
    keys = Path("keys").absolute()
    _sort(told, keys)
    groups = list(_rows(told, keys))
    answer(time.monotonic() - started, groups)


def _psql(told: Task, *statements: str) -> list[str]:
    chosen = [part for statement in statements for part in ("-c", statement)]
    return [told["tools"]["psql"], "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
            "-d", told["dsn"], *chosen]  # fmt: skip


def _sort(told: Task, keys: Path) -> None:
    read = f"SELECT {told['key']} FROM {told['table']} WHERE {told['key']} IS NOT NULL"
    with keys.open("wb") as twice:
        copy = subprocess.Popen(
            _psql(told, f"COPY ({read}) TO STDOUT"), stdout=subprocess.PIPE
        )
        sort = subprocess.Popen(
            ["sort", "-S", _SORT_MEMORY, "--parallel=2", "-T", "."],
            stdin=copy.stdout,
            stdout=subprocess.PIPE,
        )
        uniq = subprocess.Popen(["uniq", "-d"], stdin=sort.stdout, stdout=twice)
        for process in (copy, sort):
            # Otherwise it would not notice that its reader has gone.
            if process.stdout:
                process.stdout.close()
        if codes := [code for code in (uniq.wait(), sort.wait(), copy.wait()) if code]:
            raise SystemExit(f"the pipe ended with {codes}")


def _rows(told: Task, keys: Path) -> Iterator[list[int]]:
    done = subprocess.run(
        _psql(
            told,
            "CREATE TEMP TABLE twice (k varchar)",
            f"\\copy twice FROM '{keys}'",
            "ANALYZE twice",
            f"SELECT string_agg(t.id::text, ',') FROM {told['table']} t"
            f" JOIN twice ON twice.k = t.{told['key']} GROUP BY twice.k",
        ),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    for line in done.stdout.splitlines():
        yield [int(number) for number in line.split(",")]


if __name__ == "__main__":
    main()

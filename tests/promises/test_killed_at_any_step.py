"""A kill between two steps on the disk leaves a run that goes on, whichever two they are."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from dedupe import MatchKey, Run, RunStatus, scan

from .heap import Groups, groups_found, groups_in_heap, observer

SLOW = os.environ.get("PGMEND_SLOW") == "1"
ROOT = Path(__file__).parents[2]
#: another one every time; a failure prints it
SEED = int(os.environ.get("PGMEND_SEED", "0")) or random.randrange(1, 1_000_000)
#: of the steps, every which one is taken
STRIDE = 1 if SLOW else 23
COLUMNS = ("name", "code")
KEYS = [MatchKey.from_columns("crowd", column) for column in COLUMNS]


@pytest.fixture
def small(database: str) -> str:
    """Make a table of some hundred blocks."""
    with observer(database) as connection:
        connection.execute(
            """
            CREATE TABLE crowd (id int8 PRIMARY KEY, name text, code int8, filler text);
            INSERT INTO crowd SELECT n, 'name ' || n % 1990, n % 1999, repeat('x', 500)
                FROM generate_series(1, 2000) n
            """
        )
    return database


def ids_and_keys(groups: Groups) -> set[frozenset[tuple[object, ...]]]:
    """Leave the addresses out: rows were moved after a run that was finished before its kill."""
    return {frozenset(row[1:] for row in group) for group in groups}


def killed_runs(dsn: str, source: Path, into: Path, *options: str) -> list[Path]:
    """Run the step killer; return the run directories that it left, in the order of steps."""
    first = 1 + SEED % STRIDE
    killer = Path(__file__).with_name("step_killer.py")
    done = subprocess.run(
        [
            *(sys.executable, str(killer), dsn, str(source), str(into)),
            *(str(first), str(STRIDE), *options),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [into / number for number in done.stdout.split()]


@pytest.mark.grows
@pytest.mark.parametrize(("beginning", "steps"), [("new", 80), ("goes on", 40), ("fresh", 80)])
def test_killed_between_any_two_steps(
    small: str, tmp_path: Path, beginning: str, steps: int
) -> None:
    """Scenario: SIGKILL before a write, cut, sync, rename, unlink or statement of SQLite's, in
    a new run, in one that was killed in confirm, and in one that is begun anew over that.
    Outcome: wherever it was, the same call goes on to the groups of the heap.
    """
    print(f"PGMEND_SEED={SEED}")
    before = tmp_path / "before"
    if beginning != "new":
        assert killed_runs(small, tmp_path / "none", before, "confirming") == []
        assert Run.open(before).status is RunStatus.INTERRUPTED
    options = ["fresh"] if beginning == "fresh" else []
    (tmp_path / "killed").mkdir()
    left = killed_runs(small, before, tmp_path / "killed", *options)
    assert len(left) * STRIDE > steps - STRIDE, "the killer meets the steps of a scan"
    with observer(small) as connection:
        truth = {key: ids_and_keys(groups_in_heap(connection, "crowd", key)) for key in COLUMNS}
    assert [len(groups) for groups in truth.values()] == [10, 1]
    for run in left:
        finished = scan(small, KEYS, run=run, fresh=beginning == "fresh")
        found = {key: ids_and_keys(groups_found(finished, key)) for key in COLUMNS}
        assert found == truth, run

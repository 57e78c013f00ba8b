"""The client's memory is bounded by its setting: not by rows, nor by groups, nor by one group."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dedupe import Run, RunStatus

from .heap import observer

SLOW = os.environ.get("PGMEND_SLOW") == "1"
ROOT = Path(__file__).parents[2]
ROWS = 5_000_000 if SLOW else 300_000
#: bytes of interpreter, libraries and setting together
LIMIT = 150 * 10**6
#: bytes that duplicates may add to what the same rows without them take
GROWTH = 48 << 20

CLIENT = """
import sys, dedupe
dedupe.scan(sys.argv[1], dedupe.MatchKey.from_columns("crowd", "code"), run=sys.argv[2])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What the keys of a table are, and what is to be found."""

    code: str
    groups: int
    rows_in_groups: int


KINDS = {
    "one group": Kind(code="7", groups=1, rows_in_groups=ROWS),
    "pairs": Kind(code=f"n % {ROWS // 2}", groups=ROWS // 2, rows_in_groups=ROWS),
    "wide keys": Kind(
        code="CASE WHEN n <= 3000 THEN repeat('x', 20000) || n / 2 ELSE n::text END",
        groups=1499,
        rows_in_groups=2998,
    ),
}


def scanned(dsn: str, place: Path, code: str) -> Run:
    """Make a table with these keys and scan it in a process of its own."""
    with observer(dsn) as connection:
        kind = "text" if "repeat" in code else "int8"
        connection.execute("DROP TABLE IF EXISTS crowd")
        connection.execute(f"CREATE UNLOGGED TABLE crowd (id int8, code {kind})")
        connection.execute(
            f"INSERT INTO crowd SELECT n, {code} FROM generate_series(1, {ROWS}) AS n"
        )
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, dsn, str(place)],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = Run.open(place)
    assert run.status is RunStatus.FINISHED
    return run


@pytest.mark.grows
def test_duplicates_need_no_more_memory(database: str, tmp_path: Path) -> None:
    """Scenario: all rows are one group, or pairs, or some keys are 20 kB long.
    Outcome: every row is in its group, and the peak is about that without duplicates.
    """
    alone = scanned(database, tmp_path / "alone", "n").peak_rss_bytes
    assert alone < LIMIT
    peaks = {}
    for name, kind in KINDS.items():
        run = scanned(database, tmp_path / name, kind.code)
        (key,) = run.keys
        assert (key.groups, key.rows_in_groups) == (kind.groups, kind.rows_in_groups), name
        groups = run.groups()
        assert sum(len(group.members) for group in groups) == kind.rows_in_groups
        peaks[name] = run.peak_rss_bytes
    print(f"alone: {alone >> 20} MB", {name: peak >> 20 for name, peak in peaks.items()})
    for name, peak in peaks.items():
        assert peak < LIMIT, name
        assert peak < alone + GROWTH, name

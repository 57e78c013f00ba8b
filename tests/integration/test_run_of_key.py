"""A run of several keys becomes runs of one key each, which are repaired one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from dedupe import MatchKey, Run, plan, repair, scan, verify
from dedupe.errors import UsageError
from dedupe.scan.splitting import run_of_key

from ..scanning import Connection, told_groups

KEYS = (MatchKey.from_columns("t", "a"), MatchKey.from_columns("t", "b", where="c > 0"))


@pytest.fixture
def table(db: Connection) -> Connection:
    """Give a table with duplicates under two keys, some rows in groups of both."""
    db.execute("CREATE TABLE t (id int8 PRIMARY KEY, a int, b int, c int)")
    db.execute("INSERT INTO t SELECT n, n % 40, n % 30, n % 2 FROM generate_series(1, 50) n")
    return db


@pytest.mark.usefixtures("table")
def test_each_run_has_what_was_found_for_its_key(
    database: str, place: Path, tmp_path: Path
) -> None:
    run = scan(database, KEYS, place)
    for number, key in enumerate(KEYS):
        own = run_of_key(run, number, tmp_path / f"key-{number}")
        alone = scan(database, key, tmp_path / f"alone-{number}")
        assert told_groups(own) == told_groups(alone)
        assert own.asked == (key,)
        assert own.keys[0].groups == alone.keys[0].groups
        assert own.as_of == run.as_of
        assert own.id != run.id
        assert run_of_key(run, number, own.path).id == own.id


def test_they_are_repaired_one_after_the_other(
    database: str, table: Connection, place: Path, tmp_path: Path
) -> None:
    """Scenario: the first repair deletes rows that are in groups of the second key.
    Outcome: the second repair looks again for what was changed, and both keys hold.
    """
    run = scan(database, KEYS, place)
    for number in range(len(KEYS)):
        own = run_of_key(run, number, tmp_path / f"key-{number}")
        done = repair(plan(own, keep="newest"), execute=True, reason="a test")
        assert (done.status, done.left) == ("repaired", 0)
        assert verify(own).clean
    for expression in ("a", "b FILTER (WHERE c > 0)"):
        column = expression[0]
        filtered = expression[1:]
        assert table.execute(
            f"SELECT count({column}){filtered} - count(DISTINCT {column}){filtered} FROM t"
        ).fetchone() == (0,)


@pytest.mark.usefixtures("table", "moments")
def test_an_unfinished_run_is_not_split(
    database: str, place: Path, tmp_path: Path
) -> None:
    with pytest.raises(InterruptedError):
        scan(database, KEYS, place, on_progress=_interrupt)
    with pytest.raises(UsageError, match="not finished"):
        run_of_key(Run.open(place), 0, tmp_path / "key")
    assert not (tmp_path / "key").exists()


def _interrupt(_: object) -> None:
    raise InterruptedError

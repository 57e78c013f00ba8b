"""A table that was rewritten: addresses mean other rows, and no row is taken for another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from dedupe import MatchKey, Plan, plan, repair, scan, undo
from dedupe.errors import RunMismatch
from dedupe.lab.damage import Damage, damage

from ..scanning import Connection

# All rows are written by one transaction, so their versions tell them apart no more.
ROWS = "INSERT INTO t SELECT n, 'k' || n % 900 FROM generate_series(1, 1000) n"


@pytest.fixture
def planned(db: Connection, database: str, tmp_path: Path) -> Plan:
    db.execute(
        "CREATE TABLE t (id int8 PRIMARY KEY, k text); CREATE UNIQUE INDEX t_k ON t (k);"
        "CREATE TABLE c (id int8 PRIMARY KEY, t int8 REFERENCES t ON DELETE CASCADE)"
    )
    damage(database, "t_k", Damage.INDEXED_TWICE, [ROWS])
    db.execute("INSERT INTO c SELECT id, id FROM t; CREATE INDEX ON c (t)")
    run = scan(database, MatchKey.from_index("t_k"), tmp_path / "run")
    return plan(run, keep="oldest", db=database)


def everything(db: Connection) -> list[Any]:
    with db.transaction():
        db.execute("SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off")
        return [
            db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in ("t", "c")
        ]


def move_rows(db: Connection) -> None:
    """Rewrite the table, so that addresses hold other rows of the same version."""
    # The rewrite would build the unique index anew, and could not.
    db.execute("DROP INDEX t_k")
    db.execute("DELETE FROM t WHERE id = 1")
    db.execute("VACUUM FULL t")
    db.execute("CREATE INDEX t_k ON t (k)")


def test_a_plan_of_a_rewritten_table_is_refused(
    planned: Plan, db: Connection, database: str
) -> None:
    """Scenario: between plan and repair the table is rewritten, by whatever means.
    Outcome: the repair is refused with the table's name, and nothing is changed.
    """
    move_rows(db)
    before = everything(db)
    with pytest.raises(RunMismatch, match=r"public\.t was rewritten"):
        plan(planned.run, keep="newest", db=database)
    assert everything(db) == before


def test_rows_behind_a_rewritten_heap_are_not_touched(
    planned: Plan, db: Connection, database: str
) -> None:
    """Scenario: the same, but the plan was made before and its repair begins now."""
    move_rows(db)
    before = everything(db)
    with pytest.raises(RunMismatch, match=r"public\.t was rewritten"):
        repair(planned, db=database, execute=True)
    assert everything(db) == before


def test_undo_refuses_children_behind_a_rewritten_heap(
    planned: Plan, db: Connection, database: str
) -> None:
    """Scenario: after the repair a child table is rewritten.
    Outcome: no row of it is taken for another; they are listed, and the deleted rows come back.
    """
    repair(planned, db=database, execute=True)
    after = everything(db)[1]
    db.execute("VACUUM FULL c")
    result = undo(planned.run, db=database, execute=True)
    assert result.status == "partly"
    assert len(result.refused) == 100
    assert everything(db)[1] == after
    with psycopg.connect(database) as connection:
        connection.execute("SET enable_indexscan = off; SET enable_indexonlyscan = off")
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (1000,)


def test_a_group_that_was_left_goes_on_after_its_table_was_rewritten(
    db: Connection, database: str, tmp_path: Path
) -> None:
    """Scenario: a trigger refuses some groups; it is dropped, the table is rewritten, and the
    same call is given again.
    Outcome: all are repaired, and each group has a number of its own.
    """
    db.execute(
        """
        CREATE TABLE t (id int8 PRIMARY KEY, k text);
        INSERT INTO t SELECT n, 'k' || n % 50 FROM generate_series(1, 100) n;
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'not this one'; END $$;
        CREATE TRIGGER no BEFORE DELETE ON t FOR EACH ROW WHEN (OLD.id > 80)
            EXECUTE FUNCTION no()
        """
    )
    run = scan(database, MatchKey.from_columns("t", "k"), tmp_path / "run")
    made = plan(run, keep="oldest", db=database)
    result = repair(made, db=database, execute=True, reason="a test")
    assert (result.status, result.repaired, len(result.skipped)) == ("left", 30, 20)
    db.execute("DROP TRIGGER no ON t; DELETE FROM t WHERE id = 1")
    db.execute("VACUUM FULL t")
    result = repair(made, db=database, execute=True, reason="a test")
    assert (result.status, result.repaired) == ("repaired", 50)
    assert db.execute("SELECT count(*), count(DISTINCT k) FROM t").fetchone() == (49, 49)
    numbers = db.execute(
        "SELECT count(DISTINCT groups) FROM pgmend.entry WHERE action = 'd'"
    ).fetchone()
    assert numbers == (50,)

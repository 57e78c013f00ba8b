"""Every kind of damage is real: the index keeps quiet about rows that the heap holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from dedupe.errors import LabError
from dedupe.lab import Damage, Server, comparator_class, damage, mark_unique, prove

Connection = psycopg.Connection[tuple[Any, ...]]

#: whether the planner's costs are those of the lab, so that it prefers an index alone
OURS = not os.environ.get("PGMEND_LAB_DSN")
TWINS = "INSERT INTO t SELECT 10000 + n, 'value ' || n * 7 FROM generate_series(1, 50) n"
FLAGS = (
    "SELECT indisvalid, indisready, indisunique, indoption::text FROM pg_index"
    " WHERE indexrelid = %s::regclass"
)
#: kinds under which a lookup finds one of two
HIDDEN = (Damage.LOST_ENTRIES, Damage.FLIPPED_ORDER, Damage.SWAPPED_COMPARATOR)
#: kinds under which it finds both
SHOWN = (Damage.INDEXED_TWICE, Damage.INVALID_LEFTOVER)
#: kinds that leave no index to look in
GONE = (Damage.MISSING, Damage.FAILED_BUILD)


@pytest.fixture
def db(database: str) -> Iterator[Connection]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield connection


@pytest.fixture
def table(db: Connection) -> None:
    db.execute(
        """
        CREATE TABLE t (id int8 PRIMARY KEY, v text, filler text DEFAULT repeat('x', 300));
        INSERT INTO t SELECT n, 'value ' || n FROM generate_series(1, 2000) n
        """
    )


@pytest.mark.parametrize("kind", Damage)
@pytest.mark.usefixtures("table")
def test_a_unique_index(db: Connection, database: str, kind: Damage) -> None:
    """Outcome: 50 groups lie in the heap, and the index looks as it did before."""
    operator_class = ""
    if kind is Damage.SWAPPED_COMPARATOR:
        operator_class = comparator_class(database, "text")
    db.execute(sql.SQL(f"CREATE UNIQUE INDEX t_v ON t (v {operator_class})"))
    definition = damage(database, "t_v", kind, [TWINS])
    assert definition.startswith("CREATE UNIQUE INDEX t_v ON public.t USING btree (v")
    proof = prove(database, "t", "v")
    assert (proof.heap_says, proof.heap_rows, proof.key_rows) == (50, 2050, 2)
    assert proof.index_says == (1 if kind in HIDDEN else 2 if kind in SHOWN else None)
    if kind is Damage.LOST_ENTRIES and OURS:
        assert (proof.group_by_says, proof.group_by_reads) == (0, "Index Only Scan")
    if kind is Damage.MISSING:
        assert db.execute("SELECT to_regclass('t_v')").fetchone() == (None,)
    else:
        whole = kind is not Damage.FAILED_BUILD
        assert db.execute(FLAGS, ["t_v"]).fetchone() == (whole, whole, True, "0")
    if kind is Damage.INVALID_LEFTOVER:
        assert db.execute(FLAGS, ["t_v_ccnew"]).fetchone() == (False, False, True, "0")
    if kind in HIDDEN + SHOWN:
        # In the middle of the index its order is still the right one.
        with pytest.raises(psycopg.errors.UniqueViolation):
            db.execute("INSERT INTO t VALUES (0, 'value 5')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            db.execute("REINDEX INDEX t_v")


@pytest.mark.parametrize(
    "kind", [kind for kind in Damage if kind is not Damage.SWAPPED_COMPARATOR]
)
def test_a_primary_key(db: Connection, database: str, kind: Damage) -> None:
    db.execute("CREATE TABLE t (id int8 PRIMARY KEY, filler text DEFAULT repeat('x', 300))")
    db.execute("INSERT INTO t SELECT n FROM generate_series(1, 2000) n")
    damage(database, "t_pkey", kind, ["INSERT INTO t SELECT n * 7 FROM generate_series(1, 50) n"])
    proof = prove(database, "t", "id")
    assert (proof.heap_says, proof.heap_rows, proof.key_rows) == (50, 2050, 2)
    assert proof.index_says == (1 if kind in HIDDEN else 2 if kind in SHOWN else None)
    if kind is Damage.LOST_ENTRIES and OURS:
        # A count goes through the same index: from 2,050 rows fifty are missing.
        assert (proof.group_by_says, proof.count_says) == (0, 2000)


@pytest.mark.parametrize("kind", [*HIDDEN[:2], *SHOWN, Damage.MISSING])
def test_a_partitioned_index(db: Connection, database: str, kind: Damage) -> None:
    """Outcome: every partition's index is damaged and whole again, and so is the parent's."""
    db.execute(
        """
        CREATE TABLE t (id int8, v text, PRIMARY KEY (id)) PARTITION BY HASH (id);
        CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE t1 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        INSERT INTO t SELECT n, 'value ' || n FROM generate_series(1, 4000) n
        """
    )
    damage(database, "t_pkey", kind, ["INSERT INTO t SELECT n * 7 FROM generate_series(1, 50) n"])
    proof = prove(database, "t", "id")
    assert (proof.heap_says, proof.heap_rows) == (50, 4050)
    assert proof.index_says == (1 if kind in HIDDEN else 2 if kind in SHOWN else None)
    for name in ("t_pkey", "t0_pkey", "t1_pkey") if kind not in GONE else ():
        assert db.execute(FLAGS, [name]).fetchone() == (True, True, True, "0")


@pytest.mark.parametrize("kind", Damage)
@pytest.mark.usefixtures("table")
def test_a_failing_statement_leaves_everything_as_it_was(
    db: Connection, database: str, kind: Damage
) -> None:
    operator_class = ""
    if kind is Damage.SWAPPED_COMPARATOR:
        operator_class = comparator_class(database, "text")
    db.execute(sql.SQL(f"CREATE UNIQUE INDEX t_v ON t (v {operator_class})"))
    for statement in ("INSERT INTO t VALUES (1, 'other')", "INSERT INTO nowhere VALUES (1)"):
        with pytest.raises(LabError) as caught:
            damage(database, "t_v", kind, [TWINS, statement])
        assert caught.value.facts["index"] == "t_v"
        assert str(kind) in caught.value.message
    assert db.execute(FLAGS, ["t_v"]).fetchone() == (True, True, True, "0")
    proof = prove(database, "t", "v")
    assert (proof.heap_says, proof.heap_rows, proof.key, proof.index_says) == (0, 2000, (), None)
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute(TWINS)


@pytest.mark.usefixtures("table")
def test_what_cannot_be_damaged(db: Connection, database: str) -> None:
    db.execute(
        """
        CREATE INDEX plain ON t (v); CREATE UNIQUE INDEX whole ON t (v);
        CREATE TABLE p (id int8 PRIMARY KEY) PARTITION BY HASH (id)
        """
    )
    with pytest.raises(LabError, match="plain is not a unique index"):
        damage(database, "plain", Damage.LOST_ENTRIES)
    with pytest.raises(LabError, match="nowhere"):
        damage(database, "nowhere", Damage.LOST_ENTRIES)
    with pytest.raises(LabError, match="whole is not a plain index"):
        mark_unique(database, "whole")
    with pytest.raises(LabError) as caught:
        damage(database, "whole", Damage.SWAPPED_COMPARATOR, [TWINS])
    assert "comparator_class" in str(caught.value.hint)
    with pytest.raises(LabError, match="partitioned"):
        damage(database, "p_pkey", Damage.FAILED_BUILD)
    for kind in (Damage.INVALID_LEFTOVER, Damage.FAILED_BUILD):
        with pytest.raises(LabError, match="did not fail"):
            damage(database, "whole", kind)
    with pytest.raises(LabError, match="no default order"):
        comparator_class(database, "point")


@pytest.mark.usefixtures("table")
def test_only_a_superuser_damages(db: Connection, database: str, lab: Server) -> None:
    role = f"ordinary_{db.info.backend_pid}"
    db.execute(f"CREATE ROLE {role} LOGIN")
    try:
        with pytest.raises(LabError) as caught:
            damage(
                psycopg.conninfo.make_conninfo(database, user=role), "t_pkey", Damage.LOST_ENTRIES
            )
        assert "superuser" in str(caught.value.hint)
    finally:
        db.execute(f"DROP ROLE {role}")
    assert lab.running


def test_hostile_names_and_values(db: Connection, database: str) -> None:
    """Scenario: quotes, percent signs and capitals in names, keys and predicate."""
    db.execute(
        """
        CREATE SCHEMA "S %s"; CREATE TABLE "S %s"."T ""x"" %s" ("V '%s'" text, b text);
        CREATE UNIQUE INDEX "I %s" ON "S %s"."T ""x"" %s" ("V '%s'", lower(b)) WHERE b <> '%s';
        """
    )
    row = """INSERT INTO "S %s"."T ""x"" %s" VALUES ('it''s 100 %s \\', 'B')"""
    damage(database, '"S %s"."I %s"', Damage.LOST_ENTRIES, [row, row])
    proof = prove(
        database, '"S %s"."T ""x"" %s"', """ "V '%s'" """, "lower(b)", where="b <> '%s'"
    )
    assert (proof.key, proof.key_rows, proof.heap_says) == (("it's 100 %s \\", "b"), 2, 1)
    assert proof.index_says == 0

"""The index endgame on a real server: leftovers, rebuilds, and what they would wait for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from dedupe.connect import connect
from dedupe.errors import DuplicatesLeft, QueryFailed, UnknownObject
from dedupe.lab.damage import Damage, damage
from dedupe.repair.proof import prove
from dedupe.repair.rebuild import (
    blockers,
    collatable_siblings,
    drop_leftovers,
    leftovers,
    rebuild,
)
from dedupe.writer import Writer

from ..indexing import oid_of, silent
from ..scanning import Connection

PLAIN = "CREATE TABLE t (id int, k text)"
TWICE = ["INSERT INTO t VALUES (64, 'again')"]
PARTITIONED = (
    "CREATE TABLE t (id int, k text) PARTITION BY RANGE (id);"
    "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (100);"
    "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (100) TO (900)"
)


@pytest.fixture
def writer(database: str) -> Iterator[Writer]:
    with connect(database).open_writer("pgmend test") as opened:
        yield opened


def fill(db: Connection, table: str = PLAIN) -> None:
    db.execute(table)
    db.execute("INSERT INTO t SELECT n, 'Key ' || n FROM generate_series(1, 500) n")


def indexes(db: Connection) -> list[tuple[str, bool]]:
    """Return the names of all indexes of users' tables, and whether they are valid."""
    return db.execute(  # type: ignore[return-value]
        "SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'pg_toast'::regnamespace)"
        " ORDER BY c.relname"
    ).fetchall()


@pytest.mark.parametrize("table", [PLAIN, PARTITIONED])
def test_leftovers_are_dropped_by_name_and_nothing_else_is(
    database: str, db: Connection, writer: Writer, table: str
) -> None:
    """Scenario: a REINDEX that failed twice, and an invalid index of the user's own.
    Outcome: the first go, the other stays.
    """
    fill(db, table)
    db.execute("CREATE UNIQUE INDEX u ON t (id)")
    leaf = "t_1_id_idx" if table == PARTITIONED else "u"
    damage(database, leaf, Damage.INVALID_LEFTOVER, TWICE)
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute(f"REINDEX INDEX CONCURRENTLY {leaf}")
    on = "t_1" if table == PARTITIONED else "t"
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute(f"CREATE UNIQUE INDEX CONCURRENTLY the_users_own ON {on} (id)")
    found = leftovers(writer, oid_of(db, "t"))
    assert [(o.schema, o.name, o.ready) for o in found] == [
        ("public", f"{leaf}_ccnew", False), ("public", f"{leaf}_ccnew1", False),
    ]
    said: list[str] = []
    assert drop_leftovers(writer, oid_of(db, "t"), said.append) == (
        f"public.{leaf}_ccnew", f"public.{leaf}_ccnew1",
    )
    assert len(said) == 2
    assert ("the_users_own", False) in indexes(db)
    assert (leaf, True) in indexes(db)
    assert drop_leftovers(writer, oid_of(db, "t"), said.append) == ()


def test_a_ready_leftover_goes_first(database: str, db: Connection, writer: Writer) -> None:
    fill(db)
    db.execute('CREATE UNIQUE INDEX "a; ""b" ON t (id)')
    damage(database, '"a; ""b"', Damage.INVALID_LEFTOVER, TWICE)
    db.execute("CREATE INDEX z_ccold3 ON t (id); CREATE INDEX valid_ccnew ON t (id)")
    db.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'z_ccold3'::regclass")
    dropped = drop_leftovers(writer, oid_of(db, "t"), silent)
    assert dropped == ("public.z_ccold3", 'public.a; "b_ccnew')
    assert indexes(db) == [('a; "b', True), ("valid_ccnew", True)]


def test_a_build_that_goes_on_in_another_session_is_no_leftover(
    database: str, db: Connection, writer: Writer
) -> None:
    """Scenario: another session's REINDEX CONCURRENTLY waits for a writer.
    Outcome: its copy is left alone, and it finishes.
    """
    fill(db)
    db.execute("CREATE UNIQUE INDEX u ON t (id)")
    with psycopg.connect(database) as blocking, psycopg.connect(
        database, autocommit=True
    ) as other:
        blocking.execute("INSERT INTO t VALUES (1000, 'x')")
        reindexing = threading.Thread(
            target=other.execute, args=["REINDEX INDEX CONCURRENTLY u"], daemon=True
        )
        reindexing.start()
        for _ in range(200):
            if ("u_ccnew", False) in indexes(db):
                break
            time.sleep(0.02)
        assert ("u_ccnew", False) in indexes(db)
        assert leftovers(writer, oid_of(db, "t")) == ()
        blocking.rollback()
        reindexing.join(20)
    assert indexes(db) == [("u", True)]


@pytest.mark.parametrize(
    ("kind", "table"),
    [
        (Damage.LOST_ENTRIES, PLAIN),
        (Damage.FLIPPED_ORDER, PLAIN),
        (Damage.INDEXED_TWICE, PLAIN),
        (Damage.INVALID_LEFTOVER, PLAIN),
        (Damage.FAILED_BUILD, PLAIN),
        (Damage.LOST_ENTRIES, PARTITIONED),
        (Damage.FLIPPED_ORDER, PARTITIONED),
        (Damage.INDEXED_TWICE, PARTITIONED),
    ],
)
def test_whatever_the_damage_the_index_is_true_once_the_rows_are(
    database: str, db: Connection, writer: Writer, kind: Damage, table: str
) -> None:
    """Scenario: rebuilt before the repair, and after it.
    Outcome: DuplicatesLeft with nothing left behind; then valid, true, and unique.
    """
    fill(db, table)
    db.execute("CREATE UNIQUE INDEX u ON t (id)")
    db.execute("COMMENT ON INDEX u IS 'kept'")
    statements = TWICE
    if kind is Damage.FLIPPED_ORDER:
        # Rows of new keys: a duplicate is hidden only in an index of several pages.
        statements = ["INSERT INTO t SELECT n, 'Late' FROM generate_series(501, 600) n"]
    damage(database, "u", kind, statements)
    before = indexes(db)
    if kind is not Damage.FLIPPED_ORDER:
        with pytest.raises(DuplicatesLeft, match=r"public\.u could not be built") as caught:
            rebuild(writer, oid_of(db, "u"), silent)
        assert (caught.value.index, caught.value.sqlstate) == ("public.u", "23505")
        left = [(name, valid) for name, valid in before if "_ccnew" not in name]
        assert indexes(db) == left
    db.execute("DELETE FROM t WHERE k = 'again'")
    rebuild(writer, oid_of(db, "u"), silent)
    assert all(valid for _, valid in indexes(db))
    prove(writer, oid_of(db, "u"))
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute("INSERT INTO t VALUES (64, 'again')")
    if kind is not Damage.FAILED_BUILD:
        comment = db.execute("SELECT obj_description('u'::regclass)").fetchone()
        assert comment == ("kept",)


def test_a_key_and_all_that_hangs_on_it_is_kept(
    database: str, db: Connection, writer: Writer
) -> None:
    db.execute(
        "CREATE TABLE t (id int, k text, CONSTRAINT \"K; 'y\" UNIQUE (id) INCLUDE (k)"
        " WITH (fillfactor = 70) DEFERRABLE INITIALLY DEFERRED, u int NOT NULL UNIQUE)"
    )
    db.execute(
        "INSERT INTO t SELECT n, 'k', n FROM generate_series(1, 300) n;"
        "CREATE TABLE c (u int REFERENCES t (u));"
        "ALTER TABLE t REPLICA IDENTITY USING INDEX t_u_key; ALTER TABLE t CLUSTER ON t_u_key;"
        "COMMENT ON INDEX t_u_key IS 'why'; COMMENT ON CONSTRAINT \"K; 'y\" ON t IS 'how'"
    )
    state = (
        "SELECT array_agg(pg_get_constraintdef(c.oid) || conindid::regclass ORDER BY conname),"
        " array_agg(obj_description(c.oid) ORDER BY conname),"
        " (SELECT array_agg(concat(indisreplident, indisclustered, obj_description(indexrelid),"
        " pg_get_indexdef(indexrelid)) ORDER BY indexrelid::regclass::text) FROM pg_index"
        " WHERE indrelid = 't'::regclass) FROM pg_constraint c WHERE contype IN ('u', 'f')"
    )
    before = db.execute(state).fetchall()
    damage(database, "t_u_key", Damage.LOST_ENTRIES, ["INSERT INTO t VALUES (301, 'k', 301)"])
    rebuild(writer, oid_of(db, "t_u_key"), silent)
    rebuild(writer, oid_of(db, "\"K; 'y\""), silent)
    assert db.execute(state).fetchall() == before
    prove(writer, oid_of(db, "t_u_key"))


def test_a_build_that_fails_for_another_reason_says_where_it_leaves_the_table(
    database: str, db: Connection, writer: Writer
) -> None:
    """Scenario: a row too large for the index, as it came while the index was not ready; and
    a build that is cancelled. Outcome: named errors, nothing left, the next call goes on.
    """
    fill(db)
    db.execute("CREATE UNIQUE INDEX u ON t (k)")
    db.execute("ALTER TABLE t ALTER k SET STORAGE external")
    damage(
        database, "u", Damage.LOST_ENTRIES,
        ["INSERT INTO t SELECT 900, string_agg(md5(n::text), '') FROM generate_series(1, 900) n"],
    )
    with pytest.raises(QueryFailed, match=r"public\.u could not be rebuilt") as caught:
        rebuild(writer, oid_of(db, "u"), silent)
    assert (caught.value.index, caught.value.sqlstate) == ("public.u", "54000")
    assert "The table is as it was" in (caught.value.hint or "")
    assert indexes(db) == [("u", True)]
    db.execute("DELETE FROM t WHERE id = 900")
    with psycopg.connect(database) as blocking:
        blocking.execute("INSERT INTO t VALUES (1000, 'x')")
        threading.Timer(0.5, writer.cancel).start()
        threading.Timer(1.0, blocking.rollback).start()
        with pytest.raises(QueryFailed) as caught:
            rebuild(writer, oid_of(db, "u"), silent)
        assert caught.value.sqlstate == "57014"
    assert indexes(db) == [("u", True)]
    rebuild(writer, oid_of(db, "u"), silent)
    assert indexes(db) == [("u", True)]
    with pytest.raises(UnknownObject):
        rebuild(writer, 1, silent)


def test_an_exclusion_constraint_is_rebuilt_under_a_lock(db: Connection, writer: Writer) -> None:
    db.execute("CREATE TABLE t (r int4range, EXCLUDE USING gist (r WITH &&))")
    db.execute("INSERT INTO t VALUES ('[1,2)'), ('[3,4)')")
    said: list[str] = []
    rebuild(writer, oid_of(db, "t_r_excl"), said.append)
    assert "stops writers" in said[0]
    assert indexes(db) == [("t_r_excl", True)]


def test_a_partitioned_index_whose_partition_was_invalid_becomes_valid(
    database: str, db: Connection, writer: Writer
) -> None:
    fill(db, PARTITIONED)
    db.execute("CREATE UNIQUE INDEX t_1_u ON t_1 (id)")
    damage(database, "t_1_u", Damage.FAILED_BUILD, TWICE)
    db.execute("CREATE UNIQUE INDEX u ON ONLY t (id); ALTER INDEX u ATTACH PARTITION t_1_u")
    db.execute("CREATE UNIQUE INDEX t_2_u ON t_2 (id); ALTER INDEX u ATTACH PARTITION t_2_u")
    assert ("u", False) in indexes(db)
    db.execute("DELETE FROM t WHERE k = 'again'")
    try:
        rebuild(writer, oid_of(db, "u"), silent)
    except QueryFailed as error:
        assert "still marked invalid" in error.message  # noqa: PT017 -- older servers
        assert ("t_1_u", True) in indexes(db)
    else:
        assert all(valid for _, valid in indexes(db))


def test_what_a_build_would_wait_for_is_listed(
    database: str, db: Connection, writer: Writer
) -> None:
    fill(db)
    db.execute("CREATE TABLE other (id int)")
    table = oid_of(db, "t")
    assert blockers(writer, table) == ()
    with (
        psycopg.connect(database, application_name="a writer") as locking,
        psycopg.connect(database, application_name="a reader") as reading,
        psycopg.connect(database, application_name="elsewhere") as elsewhere,
        psycopg.connect(database, application_name="idle"),
    ):
        locking.execute("INSERT INTO t VALUES (1000, 'x')")
        reading.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        reading.execute("SELECT count(*) FROM other")
        elsewhere.execute("INSERT INTO other VALUES (1)")
        found = blockers(writer, table)
        assert len(found) == 2
        assert f"process {locking.info.backend_pid} (a writer), open since" in found[0]
        assert f"process {reading.info.backend_pid} (a reader), open since" in found[1]
        locking.rollback()
        reading.rollback()
        elsewhere.rollback()
    if db.execute("SHOW max_prepared_transactions").fetchone() == ("0",):
        return
    db.execute("BEGIN; INSERT INTO t VALUES (2000, 'x'); PREPARE TRANSACTION 'held; by'")
    try:
        (sentence,) = blockers(writer, table)
        assert sentence.startswith("the prepared transaction held; by of ")
        assert blockers(writer, oid_of(db, "other")) == ()
    finally:
        db.execute("ROLLBACK PREPARED 'held; by'")


def test_siblings_of_a_broken_collation_are_offered(db: Connection, writer: Writer) -> None:
    fill(db, PARTITIONED)
    other = "und-x-icu" if db.execute(
        "SELECT FROM pg_collation WHERE collname = 'und-x-icu'"
    ).fetchone() is not None else None
    db.execute(
        'CREATE INDEX plain ON t (id); CREATE INDEX c ON t (k COLLATE "C");'
        "CREATE INDEX included ON t (id) INCLUDE (k); CREATE INDEX u ON t (k)"
    )
    default = db.execute(
        "SELECT datcollate IN ('C', 'POSIX') FROM pg_database WHERE datname = current_database()"
    ).fetchone() == (True,)
    expected = [] if default else ['"public"."u"']
    if other:
        db.execute(f'CREATE INDEX "sib; l" ON t (lower(k) COLLATE "{other}")')
        db.execute(f'CREATE INDEX leaf_only ON t_2 (id, k COLLATE "{other}")')
        expected = ['"public"."leaf_only"', '"public"."sib; l"', *expected]
    found = collatable_siblings(writer, oid_of(db, "t"), oid_of(db, "plain"))
    assert list(found) == expected
    assert '"public"."u"' not in collatable_siblings(writer, oid_of(db, "t"), oid_of(db, "u"))

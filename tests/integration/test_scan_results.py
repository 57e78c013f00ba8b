"""What a scan finds is what the heap holds, whatever the table and however it is read."""

from __future__ import annotations

import random
import stat
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from dedupe import MatchKey, Run, RunStatus, connect, scan, unique_keys
from dedupe.errors import KeyDefinitionError, UsageError
from dedupe.lab import Server

from ..scanning import GROUPS, ROWS, Connection, Moments, heap_groups, make_table, told_groups

T_K = MatchKey.from_columns("t", "k")


@pytest.mark.parametrize("order", ["physical", "key", "auto"])
@pytest.mark.parametrize("jobs", [1, 4])
def test_either_order_and_any_jobs_find_what_the_heap_holds(
    database: str, db: Connection, place: Path, order: str, jobs: int
) -> None:
    make_table(db)
    run = scan(database, T_K, place, order=order, jobs=jobs)
    (key,) = run.keys
    assert (key.rows, key.left_out, key.groups, key.rows_in_groups) == (ROWS, 0, GROUPS, 2 * GROUPS)
    assert (key.surplus_rows, key.false_candidates) == (GROUPS, 0)
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert run.status is RunStatus.FINISHED
    assert run.fraction == 1.0


def test_a_group_tells_all_of_its_rows(database: str, db: Connection, place: Path) -> None:
    """Scenario: three groups; the key is written differently in equal rows.
    Outcome: addresses, xmin, primary key and key of every row, as the heap has them.
    """
    db.execute(
        "CREATE TABLE t (a int, b text, n numeric, PRIMARY KEY (b, a));"
        "INSERT INTO t VALUES (1, 'x', 1.0), (2, 'x', 1.00), (3, 'y', 2), (4, 'z', 'NaN')"
    )
    db.execute("INSERT INTO t VALUES (5, 'q', 'NaN'), (6, 'r', 2.000), (7, 's', 3)")
    run = scan(database, MatchKey.from_columns("t", "n"), place)
    told = {
        (member.schema, member.table, member.ctid, member.xmin): (member.pk, member.key)
        for group in run.groups()
        for member in group.members
    }
    rows = db.execute(
        "SELECT ctid::text, xmin::text, a::text, b, n::text FROM t WHERE a <> 7"
    ).fetchall()
    assert told == {
        ("public", "t", ctid, xmin): ({"b": b, "a": a}, (n,)) for ctid, xmin, a, b, n in rows
    }
    first = next(iter(run.groups()))
    assert (first.key_name, first.number, len(first.members)) == ("n", 1, 2)
    assert first.members[0] == next(iter(first.members))
    assert first.members[-1].ctid > first.members[0].ctid
    assert [m.ctid for m in first.members[::-1]] == [m.ctid for m in list(first.members)[::-1]]


def test_several_keys_share_one_pass(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Scenario: an index with expressions and a predicate, a column, a composite key.
    Outcome: each key has its own groups and counts, and the heap was read once.
    """
    make_table(db, "plain")
    db.execute(
        "CREATE TABLE t AS SELECT id, k,"
        " CASE WHEN id % 3 = 0 THEN 'A' ELSE 'a' END || id / 30 AS email,"
        " CASE WHEN id <= 200 THEN id % 2 = 0 END AS deleted FROM plain;"
        "CREATE INDEX by_email ON t (lower(email)) WHERE NOT deleted"
    )
    keys = [MatchKey.from_index("by_email"), T_K, MatchKey.from_columns("t", "k", "deleted")]
    run = scan(database, keys, place, jobs=1, on_progress=moments)
    by_email, by_k, by_both = run.keys
    assert told_groups(run, "by_email") == heap_groups(
        db, "t", "lower(email)", where="NOT deleted"
    )
    assert told_groups(run, "k") == heap_groups(db, "t", "k")
    assert told_groups(run, "k, deleted") == heap_groups(db, "t", "k", "deleted")
    # deleted is false for 100 rows, true for 100 and NULL for the others.
    assert (by_email.rows, by_email.left_out) == (100, ROWS - 100)
    assert (by_k.rows, by_k.left_out) == (ROWS, 0)
    assert (by_both.rows, by_both.left_out) == (200, ROWS - 200)
    assert by_email.groups == 7
    chunks = moments.chunks[RunStatus.SCANNING]
    scan(database, T_K, place.with_name("one"), jobs=1, on_progress=moments)
    assert moments.chunks[RunStatus.SCANNING] == 2 * chunks


def test_null_is_equal_to_nothing_unless_the_key_says_so(
    database: str, db: Connection, place: Path
) -> None:
    db.execute("CREATE TABLE t (id int, a int, b text)")
    db.execute(
        "INSERT INTO t VALUES (1, NULL, 'x'), (2, NULL, 'x'), (3, 1, NULL), (4, 1, NULL),"
        " (5, NULL, NULL), (6, NULL, NULL), (7, 1, 'x'), (8, 1, 'x')"
    )
    distinct = scan(database, MatchKey.from_columns("t", "a", "b"), place)
    assert (distinct.keys[0].rows, distinct.keys[0].left_out, distinct.keys[0].groups) == (2, 6, 1)
    equal = scan(
        database,
        MatchKey.from_columns("t", "a", "b", nulls_distinct=False),
        place.with_name("equal"),
    )
    assert (equal.keys[0].rows, equal.keys[0].left_out, equal.keys[0].groups) == (8, 0, 4)
    keys = [{member.key for member in group.members} for group in equal.groups()]
    assert sorted(map(repr, keys)) == [
        "{('1', 'x')}", "{('1', None)}", "{(None, 'x')}", "{(None, None)}",
    ]
    assert {member.pk is None for group in equal.groups() for member in group.members} == {True}


def test_predicate_unknown_leaves_a_row_out(database: str, db: Connection, place: Path) -> None:
    db.execute("CREATE TABLE t (k int, live bool)")
    db.execute("INSERT INTO t VALUES (1, true), (1, true), (1, NULL), (1, false), (2, NULL)")
    run = scan(database, MatchKey.from_columns("t", "k", where="live"), place)
    (key,) = run.keys
    assert (key.rows, key.left_out, key.groups, key.rows_in_groups) == (2, 3, 1, 2)


def test_an_empty_table_has_no_groups(database: str, db: Connection, place: Path) -> None:
    db.execute("CREATE TABLE t (k int PRIMARY KEY)")
    for order in ("physical", "key"):
        run = scan(database, MatchKey.from_index("t_pkey"), place.with_name(order), order=order)
        (key,) = run.keys
        assert (key.rows, key.left_out, key.groups) == (0, 0, 0)
        assert list(run.groups()) == []
        assert run.status is RunStatus.FINISHED


def test_a_materialized_view_is_scanned(database: str, db: Connection, place: Path) -> None:
    make_table(db)
    db.execute("CREATE MATERIALIZED VIEW m AS SELECT id, k FROM t")
    run = scan(database, MatchKey.from_columns("m", "k"), place)
    assert told_groups(run) == heap_groups(db, "m", "k")
    assert run.keys[0].groups == GROUPS


def test_of_plain_inheritance_only_the_table_itself_is_read(
    database: str, db: Connection, place: Path
) -> None:
    db.execute("CREATE TABLE parent (k int); CREATE TABLE child () INHERITS (parent)")
    db.execute("INSERT INTO parent VALUES (1), (2), (2)")
    db.execute("INSERT INTO child VALUES (1), (3), (3)")
    run = scan(database, MatchKey.from_columns("parent", "k"), place)
    assert run.keys[0].rows == 3
    assert told_groups(run) == heap_groups(db, "ONLY parent", "k")
    below = scan(database, MatchKey.from_columns("child", "k"), place.with_name("child"))
    assert told_groups(below) == heap_groups(db, "child", "k")


@pytest.fixture
def partitioned(db: Connection) -> None:
    """Make two levels of partitions; leaves have their columns in other places, or dropped ones."""
    db.execute(
        """
        CREATE TABLE p (region text NOT NULL, at int NOT NULL, k text) PARTITION BY LIST (region);
        CREATE TABLE p_eu PARTITION OF p FOR VALUES IN ('eu');
        CREATE TABLE p_us (gone int, k text, at int NOT NULL, region text NOT NULL);
        ALTER TABLE p_us DROP COLUMN gone;
        ALTER TABLE p ATTACH PARTITION p_us FOR VALUES IN ('us');
        CREATE TABLE p_as PARTITION OF p FOR VALUES IN ('as') PARTITION BY RANGE (at);
        CREATE TABLE p_as_1 PARTITION OF p_as FOR VALUES FROM (0) TO (10);
        CREATE TABLE p_as_2 PARTITION OF p_as FOR VALUES FROM (10) TO (20);
        CREATE TABLE p_rest PARTITION OF p DEFAULT;
        INSERT INTO p VALUES ('eu', 1, 'a'), ('us', 1, 'a'), ('as', 1, 'a'), ('as', 11, 'a'),
            ('eu', 2, 'b'), ('eu', 3, 'b'), ('as', 2, 'c'), ('as', 12, 'c'), ('us', 2, 'd'),
            ('eu', 4, NULL), ('us', 4, NULL)
        """
    )


@pytest.mark.usefixtures("partitioned")
@pytest.mark.parametrize("jobs", [1, 4])
def test_a_key_is_compared_across_all_leaves(
    database: str, db: Connection, place: Path, jobs: int
) -> None:
    run = scan(database, MatchKey.from_columns("p", "k"), place, jobs=jobs)
    assert told_groups(run) == heap_groups(db, "p", "k")
    (key,) = run.keys
    assert (key.schema, key.table, key.rows, key.left_out, key.groups) == ("public", "p", 9, 2, 3)
    leaves = {member.table for group in run.groups() for member in group.members}
    assert leaves == {"p_eu", "p_us", "p_as_1", "p_as_2"}


@pytest.mark.usefixtures("partitioned")
def test_a_level_of_partitions_can_be_scanned_alone(
    database: str, db: Connection, place: Path
) -> None:
    run = scan(database, MatchKey.from_columns("p_as", "k"), place)
    assert told_groups(run) == heap_groups(db, "p_as", "k")
    assert run.keys[0].rows == 4


@pytest.mark.usefixtures("partitioned")
def test_a_key_of_a_single_partition_is_compared_within_it(
    database: str, db: Connection, place: Path
) -> None:
    """Scenario: the table has a unique key of its own, one leaf has another one besides.
    Outcome: both are listed, scanned in one pass, and each compares just its own rows.
    """
    db.execute(
        "CREATE UNIQUE INDEX p_key ON p (region, at);"
        "CREATE INDEX p_eu_k ON p_eu (k);"
        "UPDATE pg_index SET indisunique = true WHERE indexrelid = 'p_eu_k'::regclass"
    )
    ((label, keys),) = [entry for entry in unique_keys(database) if entry[1]]
    assert label == "public.p"
    assert [key.name for key in keys] == ['"public"."p_key"', '"public"."p_eu_k"']
    run = scan(database, keys, place)
    whole, single = run.keys
    assert (whole.name, whole.rows, whole.groups) == ("p_key", 11, 0)
    assert (single.name, single.rows, single.left_out, single.groups) == ("p_eu_k", 3, 1, 1)
    assert told_groups(run, "p_eu_k") == heap_groups(db, "p_eu", "k")


@pytest.mark.usefixtures("partitioned")
def test_keys_of_different_tables_are_refused(database: str, db: Connection, place: Path) -> None:
    db.execute("CREATE TABLE other (k text)")
    with pytest.raises(KeyDefinitionError, match="different tables") as caught:
        scan(
            database,
            [MatchKey.from_columns("p_eu", "k"), MatchKey.from_columns("other", "k")],
            place,
        )
    assert "run of its own" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="no key to scan for"):
        scan(database, [], place)
    assert not place.exists()


def test_wide_and_toasted_rows_are_found(database: str, db: Connection, place: Path) -> None:
    """Keys of 100,000 characters, stored outside of their rows, and rows as wide as a page."""
    db.execute("CREATE TABLE t (id int PRIMARY KEY, k text, filler char(2000))")
    db.execute("ALTER TABLE t ALTER k SET STORAGE EXTERNAL, ALTER filler SET STORAGE PLAIN")
    db.execute(
        "INSERT INTO t SELECT n, repeat(md5((n / 2)::text), 3125), 'x'"
        " FROM generate_series(1, 60) n"
    )
    run = scan(database, T_K, place, memory="8MiB")
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert run.keys[0].groups == 29
    assert {len(m.key[0] or "") for g in run.groups() for m in g.members} == {100_000}


@pytest.mark.parametrize("order", ["physical", "key"])
def test_all_rows_equal_is_one_group(
    database: str, db: Connection, place: Path, order: str
) -> None:
    """More rows than the walk holds at a time: they are streamed and still one group."""
    db.execute("CREATE TABLE t (id int8 PRIMARY KEY, k text)")
    db.execute("INSERT INTO t SELECT n, 'same' FROM generate_series(1, 70000) n")
    run = scan(database, T_K, place, memory="8MiB", order=order)
    (group,) = run.groups()
    assert len(group.members) == 70_000
    ids = {member.pk["id"] for member in group.members if member.pk}
    assert len(ids) == 70_000
    assert run.keys[0].surplus_rows == 69_999


def test_random_tables_agree_with_the_heap(database: str, db: Connection, tmp_path: Path) -> None:
    """Five tables of random size and fill, updated and deleted from at random, in both orders."""
    chance = random.Random(20261124)
    for number in range(5):
        rows = chance.choice([1, 2, 100, 3000, 9000])
        keys = chance.choice([1, 7, rows, 3 * rows])
        db.execute(
            f"CREATE TABLE r{number} (id int8 PRIMARY KEY, k int8, s text, filler text);"
            f"INSERT INTO r{number} SELECT n, (n * 7919) % {keys}, md5((n % {keys})::text),"
            f" repeat('x', {chance.choice([0, 10, 300])}) FROM generate_series(1, {rows}) n;"
            f"UPDATE r{number} SET k = k + {chance.choice([0, 1])} WHERE id % 5 = 0;"
            f"DELETE FROM r{number} WHERE id % {chance.choice([2, 11, 1000])} = 0;"
            f"UPDATE r{number} SET k = NULL WHERE id % 97 = 0"
        )
        asked = [MatchKey.from_columns(f"r{number}", *parts) for parts in (("k",), ("k", "s"))]
        truth = [heap_groups(db, f"r{number}", *parts) for parts in (("k",), ("k", "s"))]
        for order in ("physical", "key"):
            run = scan(database, asked, tmp_path / f"{number}{order}", order=order, jobs=3)
            assert [told_groups(run, name) for name in ("k", "k, s")] == truth, (number, order)


def test_as_of_is_a_moment_of_the_server(database: str, db: Connection, place: Path) -> None:
    make_table(db, rows=200)
    before = datetime.now(UTC)
    run = scan(database, T_K, place)
    after = datetime.now(UTC)
    assert run.as_of is not None
    assert before <= run.started <= run.as_of <= after
    assert run.as_of.utcoffset() == timedelta(0)
    assert 0 < run.seconds < 60
    assert run.spill_bytes > 0
    assert run.peak_rss_bytes > 10_000_000
    assert run.table == "public.t"
    assert run.target.dbname == db.info.dbname
    assert "column" in run.definitions[0]
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) & 0o077 for file in place.iterdir()} == {0}


def test_the_database_and_the_role_may_set_what_they_like(
    lab: Server, database: str, db: Connection, place: Path
) -> None:
    """Scenario: planner, date, timeout and isolation settings of the database, all unhelpful.
    Outcome: the same groups; nothing that was set reaches the scan.
    """
    make_table(db)
    db.execute("CREATE INDEX t_k ON t (k)")
    db.execute("ANALYZE t")
    for setting, value in {
        "enable_tidscan": "off",
        "enable_seqscan": "off",
        "enable_indexscan": "on",
        "random_page_cost": "0.0001",
        "max_parallel_workers_per_gather": "4",
        "parallel_setup_cost": "0",
        "min_parallel_table_scan_size": "0",
        "DateStyle": "'SQL, DMY'",
        "bytea_output": "escape",
        "search_path": "pg_temp",
        "statement_timeout": "'3s'",
        "default_transaction_isolation": "serializable",
        "default_transaction_deferrable": "on",
        "client_encoding": "LATIN1",
        "row_security": "on",
        "jit": "on",
        "jit_above_cost": "0",
        "debug_parallel_query" if lab.version >= 160000 else "force_parallel_mode": "on",
    }.items():
        db.execute(f"ALTER DATABASE {db.info.dbname} SET {setting} = {value}")
    run = scan(database, MatchKey.from_columns("public.t", "k"), place)
    assert told_groups(run) == heap_groups(db, "t", "k")


def test_the_scan_leaves_nothing_on_the_server(
    database: str, db: Connection, place: Path
) -> None:
    """Outcome: no session, no lock, no object, no statistics beyond reading; no thread here."""
    make_table(db)
    objects = "SELECT count(*), max(oid::int8) FROM pg_class"
    before, threads = db.execute(objects).fetchone(), threading.active_count()
    scan(database, T_K, place, jobs=4)
    assert db.execute(objects).fetchone() == before
    assert threading.active_count() == threads
    # A backend needs a moment to see that its client has gone.
    for _ in range(50):
        left = db.execute(
            "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'pgmend%'"
            " AND datname = current_database()"
        ).fetchall()
        if not left:
            break
        time.sleep(0.1)
    assert left == []
    files = {file.name for file in place.iterdir()}
    assert files == {"groups.sqlite", "lock", "spill", "state.sqlite"}


def test_a_run_is_read_without_a_server(database: str, db: Connection, place: Path) -> None:
    make_table(db)
    truth = heap_groups(db, "t", "k")
    scan(database, T_K, place)
    db.execute("DROP TABLE t")
    run = Run.open(place)
    assert told_groups(run) == truth
    assert run.status is RunStatus.FINISHED
    assert run.unreadable == ()
    assert run.events == ()


def test_anything_that_connects_can_be_scanned(
    database: str, db: Connection, tmp_path: Path
) -> None:
    """A string, an open connection (in a transaction of its own) and a Database."""
    make_table(db)
    truth = heap_groups(db, "t", "k")
    with psycopg.connect(database) as connection:
        connection.execute("SELECT 1")
        for name, given in (("s", database), ("c", connection), ("d", connect(database))):
            assert told_groups(scan(given, T_K, tmp_path / name)) == truth
        assert connection.info.transaction_status.name == "INTRANS"

"""Key order: only over a primary key's index that was proved against the heap in this run."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest

from dedupe import MatchKey, RunStatus, scan
from dedupe.errors import UnprovenIndex
from dedupe.lab.comparator import comparator_class
from dedupe.lab.damage import Damage, damage
from dedupe.scan import keyorder

from ..faults import Breakable, page_of
from ..scanning import (
    GROUPS,
    ROWS,
    Connection,
    Moments,
    heap_groups,
    make_table,
    told_groups,
)

T_K = MatchKey.from_columns("t", "k")


@pytest.fixture(params=["amcheck", "counting"])
def proof(request: pytest.FixtureRequest, db: Connection, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have the index proved by amcheck, or by counting where there is none."""
    way: str = request.param
    if way == "amcheck":
        db.execute("CREATE EXTENSION amcheck SCHEMA public")

        def none(*_: object) -> None:
            pytest.fail("counted, though amcheck is there")

        monkeypatch.setattr(keyorder, "_count", none)
    return way


@pytest.mark.usefixtures("proof")
def test_a_sound_index_is_proved_and_read(database: str, db: Connection, place: Path) -> None:
    make_table(db)
    run = scan(database, T_K, place, order="key")
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert (run.keys[0].rows, run.keys[0].groups) == (ROWS, GROUPS)


def test_an_index_that_lost_entries_is_refused(
    database: str, db: Connection, place: Path, proof: str
) -> None:
    """Scenario: a bigint key without duplicates, whose index misses two rows of 15,002.
    Outcome: refused with the remedy; read through that index, the rows would be missing.
    """
    make_table(db)
    damage(
        database, "t_pkey", Damage.LOST_ENTRIES,
        ["INSERT INTO t VALUES (-1, 'k500'), (30000, 'k501')"],
    )
    db.execute("VACUUM t")
    with pytest.raises(UnprovenIndex, match="could not be trusted") as caught:
        scan(database, T_K, place, order="key")
    assert caught.value.index == "public.t_pkey"
    assert "public.t cannot be read in key order" in caught.value.message
    assert "--order physical" in (caught.value.hint or "")
    if proof == "counting":
        assert "15000 entries for 15002 rows" in caught.value.message
    run = scan(database, T_K, place.with_name("physical"))
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert run.keys[0].groups == GROUPS + 2


@pytest.mark.usefixtures("proof")
def test_a_misordered_index_is_refused(database: str, db: Connection, place: Path) -> None:
    """Entries sorted by another order, as after a collation change: all are there."""
    make_table(db)
    damage(
        database, "t_pkey", Damage.FLIPPED_ORDER,
        [f"INSERT INTO t SELECT n, 'x' || n FROM generate_series({ROWS + 1}, {ROWS + 400}) n"],
    )
    with pytest.raises(UnprovenIndex) as caught:
        scan(database, T_K, place, order="key")
    assert caught.value.index == "public.t_pkey"


def test_a_key_that_is_itself_duplicated(
    database: str, db: Connection, place: Path, proof: str
) -> None:
    """Scenario: the primary key holds two rows of one id, both in the index.
    Outcome: amcheck finds index and heap in agreement, and every row is read; by counting
    it is refused, because a strict order is what is asked for.
    """
    make_table(db)
    damage(database, "t_pkey", Damage.INDEXED_TWICE, ["INSERT INTO t VALUES (64, 'k900')"])
    keys = [T_K, MatchKey.from_index("t_pkey")]
    if proof == "counting":
        with pytest.raises(UnprovenIndex, match="1 of them out of order"):
            scan(database, keys, place, order="key")
        return
    run = scan(database, keys, place, order="key")
    assert told_groups(run, "k") == heap_groups(db, "t", "k")
    assert told_groups(run, "t_pkey") == heap_groups(db, "t", "id")
    assert run.keys[1].groups == 1


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ("id text PRIMARY KEY", "the order of column id (text) is a collation's"),
        ("id varchar(10) PRIMARY KEY", "is a collation's"),
        ('a int, "my id" text, PRIMARY KEY (a, "my id")', "the order of column my id (text)"),
        ("id int", "it has no primary key"),
        ("id int UNIQUE", "it has no primary key"),
    ],
)
def test_what_cannot_be_read_in_key_order(
    database: str, db: Connection, place: Path, columns: str, why: str
) -> None:
    db.execute(f"CREATE TABLE t ({columns}, k text)")
    with pytest.raises(UnprovenIndex) as caught:
        scan(database, T_K, place, order="key")
    assert why in caught.value.message
    assert "--order physical" in (caught.value.hint or "")


def test_an_order_of_the_users_own_is_refused(database: str, db: Connection, place: Path) -> None:
    name = comparator_class(database, "int8")
    db.execute(f"CREATE TABLE t (id int8 NOT NULL, k text); CREATE UNIQUE INDEX u ON t (id {name})")
    db.execute("UPDATE pg_index SET indisprimary = true WHERE indexrelid = 'u'::regclass")
    with pytest.raises(UnprovenIndex, match="has an order of its own"):
        scan(database, T_K, place, order="key")


@pytest.mark.parametrize(
    ("kind", "columns", "values"),
    [
        ("int2", "", "(n - 5000)"),
        ("numeric", "", "CASE n WHEN 7 THEN 'NaN' WHEN 8 THEN -1e300 ELSE n * 1.50 END"),
        ("float8", "", "CASE n WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' ELSE 1 / n::float8 END"),
        ("uuid", "", "md5(n::text)::uuid"),
        ('text COLLATE "C"', "", "chr(n + 100) || chr(39) || chr(34) || chr(92) || ' '"),
        ("name", "", "'n' || n"),
        ('char(8) COLLATE "POSIX"', "", "n || ' '"),
        ("bytea", "", "decode(md5(n::text), 'hex')"),
        ("timestamptz", "", "'epoch'::timestamptz + n * interval '1 h'"),
        ("date", "", "CASE n WHEN 3 THEN 'infinity' ELSE '0044-03-15 BC'::date + n END"),
        ("interval", "", "n * interval '-1 month 3 days 0.5 s'"),
        ("bool", "id, n", "n % 2 = 0"),
        ("mood", "n, id", "CASE n % 2 WHEN 0 THEN 'z' ELSE 'a' END::mood"),
        ("mood", "id, n", "CASE n % 2 WHEN 0 THEN 'z' ELSE 'a' END::mood"),
        ("posint", "", "n"),
        ("int4range", "", "int4range(n, n + 5)"),
        ("int[]", "", "ARRAY[n % 5, n]"),
        ("jsonb", "", "jsonb_build_object('a', n)"),
        ("inet", "", "'10.0.0.0'::inet + n"),
        ("varbit", "", "n::bit(13)"),
    ],
)
def test_keys_of_many_types(
    database: str, db: Connection, place: Path, moments: Moments,
    kind: str, columns: str, values: str,
) -> None:
    """Whatever the type, its text reads back as itself, and its order is the index's."""
    db.execute("CREATE TYPE mood AS ENUM ('z', 'a'); CREATE DOMAIN posint AS int CHECK (VALUE > 0)")
    db.execute(f"CREATE TABLE t (id {kind}, n int, k int, filler text)")
    db.execute(
        f"INSERT INTO t SELECT {values}, n, n % 4990, repeat('x', 60)"
        " FROM generate_series(1, 5000) n"
    )
    db.execute(f"ALTER TABLE t ADD PRIMARY KEY ({columns or 'id'})")
    run = scan(database, T_K, place, order="key", jobs=1, on_progress=moments)
    assert moments.chunks[RunStatus.SCANNING] > 3
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert run.keys[0].rows == 5000


def test_every_leaf_has_an_index_to_prove(
    database: str, db: Connection, place: Path, proof: str
) -> None:
    """Scenario: a partitioned table, and one leaf's index lost an entry.
    Outcome: sound, the groups across leaves; then refused, naming that leaf and index.
    """
    assert proof
    db.execute(
        "CREATE TABLE t (id int8 PRIMARY KEY, k int) PARTITION BY RANGE (id);"
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (1000);"
        "CREATE TABLE t_2 (k int, id int8 NOT NULL);"
        "ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM (1000) TO (9000);"
        "INSERT INTO t SELECT n, n % 1990 FROM generate_series(1, 2000) n"
    )
    run = scan(database, T_K, place, order="key")
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert run.keys[0].groups == 10
    damage(database, "t_2_pkey", Damage.LOST_ENTRIES, ["INSERT INTO t VALUES (5000, 1)"])
    db.execute("VACUUM t")
    with pytest.raises(UnprovenIndex, match=r"public\.t_2 cannot be read") as caught:
        scan(database, T_K, place.with_name("other"), order="key")
    assert caught.value.index == "public.t_2_pkey"


def test_a_proof_is_kept_for_the_run_and_for_that_index_only(
    database: str, db: Connection, place: Path, moments: Moments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: three sessions of one run; before the third one the index was rebuilt.
    Outcome: proved in the first and the third.
    """
    make_table(db)
    proved = 0
    count = keyorder._count

    def counted(*arguments: object) -> None:
        nonlocal proved
        proved += 1
        count(*arguments)

    monkeypatch.setattr(keyorder, "_count", counted)
    expected = [1, 1, 2]
    for number, times in enumerate(expected, 1):
        if number == 3:
            db.execute("REINDEX INDEX t_pkey")
        moments.stop_at(RunStatus.SCANNING, 3 * number)
        run = scan(database, T_K, place, order="key", jobs=1, on_progress=moments)
        assert proved == times
    assert run.status is RunStatus.INTERRUPTED
    run = scan(database, T_K, place)
    assert told_groups(run) == heap_groups(db, "t", "k")


def test_an_index_damaged_after_its_proof_loses_no_row_that_came_later(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Scenario: once the index is proved, rows come in that it never gets.
    Outcome: the sweep reads the heap, so they are found.
    """
    make_table(db)
    moments.at(
        RunStatus.SCANNING, 2,
        lambda: damage(
            database, "t_pkey", Damage.LOST_ENTRIES,
            ["INSERT INTO t VALUES (-1, 'k500'), (30000, 'k501')"],
        ),
    )
    run = scan(database, T_K, place, order="key", jobs=1, on_progress=moments)
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert run.keys[0].groups == GROUPS + 2


def test_another_index_of_the_same_columns_does_not_answer(
    database: str, db: Connection, place: Path
) -> None:
    """Scenario: a second index leads with the key's column; it is smaller than the primary
    key's and lost entries after its making.
    Outcome: never a wrong answer: the planner's choice of that index is refused.
    """
    make_table(db)
    db.execute("ALTER TABLE t DROP CONSTRAINT t_pkey")
    db.execute("CREATE UNIQUE INDEX narrow ON t (id)")
    db.execute("ALTER TABLE t ADD CONSTRAINT t_pkey PRIMARY KEY (id) INCLUDE (k)")
    db.execute("ALTER INDEX narrow RENAME TO t_other")
    with db.transaction():
        db.execute("UPDATE pg_index SET indisready = false WHERE indexrelid = 't_other'::regclass")
        db.execute("INSERT INTO t VALUES (-1, 'k500')")
        db.execute("UPDATE pg_index SET indisready = true WHERE indexrelid = 't_other'::regclass")
    db.execute("VACUUM ANALYZE t")
    try:
        run = scan(database, T_K, place, order="key")
    except UnprovenIndex as error:
        assert "t_other" in error.message  # noqa: PT017 - either is right, a wrong answer is not
    else:
        assert told_groups(run) == heap_groups(db, "t", "k")


def test_a_role_without_the_right_to_amcheck_proves_by_counting(
    database: str, db: Connection, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_table(db)
    db.execute("CREATE EXTENSION amcheck SCHEMA public")
    role = f"reader_{db.info.backend_pid}"
    db.execute(f"CREATE ROLE {role} LOGIN; GRANT SELECT ON t TO {role}")
    counted: list[bool] = []
    count = keyorder._count

    def noted(*arguments: object) -> None:
        counted.append(True)
        count(*arguments)

    monkeypatch.setattr(keyorder, "_count", noted)
    try:
        run = scan(psycopg.conninfo.make_conninfo(database, user=role), T_K, place, order="key")
        assert told_groups(run) == heap_groups(db, "t", "k")
        assert counted == [True]
    finally:
        db.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.usefixtures("proof")
def test_a_stop_is_heard_during_the_proof(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Scenario: the proof takes long (it waits for a lock here), and a stop is asked for.
    Outcome: the scan returns unfinished at once, is not refused, and goes on later.
    """
    make_table(db)
    with psycopg.connect(database) as locking:
        def lock() -> None:
            locking.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            threading.Timer(0.7, moments.run.stop).start()

        moments.at(RunStatus.SCANNING, 0, lock)
        run = scan(database, T_K, place, order="key", on_progress=moments)
    assert run.status is RunStatus.INTERRUPTED
    assert run.seconds < 5
    assert scan(database, T_K, place).keys[0].groups == GROUPS


@pytest.mark.parametrize("when", ["before", "after the proof"])
def test_a_page_that_cannot_be_read_refuses_the_order(
    breakable: Breakable, tmp_path: Path, moments: Moments, when: str
) -> None:
    """Scenario: a heap page is invalid before the scan, or becomes so in its middle.
    Outcome: key order is refused with its remedy; in physical order the page is reported
    and every other group is found.
    """
    dsn = breakable.dsn
    with psycopg.connect(dsn, autocommit=True) as db:
        make_table(db)
        truth = heap_groups(db, "t", "k")
        file, size = page_of(db, "t")

    def ruin() -> None:
        breakable.spoil(file, [40], size, b"\xff" * 24)

    if when == "before":
        ruin()
    else:
        moments.at(RunStatus.SCANNING, 2, ruin)
    with pytest.raises(UnprovenIndex, match="could not be trusted") as caught:
        scan(dsn, T_K, tmp_path / "key", order="key", jobs=1, on_progress=moments)
    assert "--order physical" in (caught.value.hint or "")
    run = scan(dsn, T_K, tmp_path / "physical")
    assert [(row.block, row.ctid) for row in run.unreadable] == [(40, None)]
    assert told_groups(run) == truth



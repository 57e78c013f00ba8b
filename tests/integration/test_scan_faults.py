"""What goes wrong during a scan is survived, or ends it by name; never with a wrong answer."""

from __future__ import annotations

import re
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from dedupe import MatchKey, Run, RunStatus, connect, scan
from dedupe import session as sessions
from dedupe.errors import (
    LocalStorageError,
    LockNotAvailable,
    NotARunDirectory,
    NotEnoughSpace,
    PermissionDenied,
    QueryFailed,
    RowSecurityHidesRows,
    RunDirectoryDamaged,
    RunMismatch,
    ServerUnavailable,
    UnknownObject,
)
from dedupe.key import resolve
from dedupe.lab import Server
from dedupe.scan.checkpoint import State
from dedupe.scan.chunk import ChunkReader
from dedupe.table import find_relation, load_table

from ..faults import Breakable, fill, page_of, small_disk
from ..scanning import GROUPS, ROWS, Connection, Moments, heap_groups, make_table, told_groups

T_K = MatchKey.from_columns("t", "k")
WRITE = "INSERT INTO t VALUES (-1, 'k500')"
PHASES = [RunStatus.SCANNING, RunStatus.SWEEPING, RunStatus.CONFIRMING]


def at(moments: Moments, phase: RunStatus, action: Callable[[], object]) -> None:
    """Do something in the middle of a phase, of confirm as it begins."""
    moments.at(phase, 0 if phase is RunStatus.CONFIRMING else 3, action)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scan give up on a server after half a second, and on a lock after a fifth."""
    for name, module in [*sys.modules.items()]:
        if name.startswith("dedupe.scan.") and hasattr(module, "RETRY_SECONDS"):
            monkeypatch.setattr(module, "RETRY_SECONDS", (0.2, 0.3))
    monkeypatch.setitem(sessions.PINNED, "lock_timeout", "200ms")  # type: ignore[arg-type]


# The server


@pytest.mark.parametrize(
    ("order", "phase"), [("key", RunStatus.SCANNING), *(("physical", phase) for phase in PHASES)]
)
def test_a_server_that_crashes_and_comes_back_costs_nothing(
    breakable: Breakable, place: Path, moments: Moments, phase: RunStatus, order: str
) -> None:
    """Scenario: the server crashes in each phase and is up again a moment later.
    Outcome: the scan goes on by itself, tells it once for each worker, and finds the truth.
    """
    dsn = breakable.dsn
    with psycopg.connect(dsn, autocommit=True) as db:
        make_table(db)

    def write() -> None:
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute(WRITE)
            # A crash must not take the row with it.
            db.execute("CHECKPOINT")

    def crash() -> None:
        breakable.crash()

    if phase is RunStatus.SCANNING:
        moments.at(phase, 3, lambda: (write(), crash()))
    else:
        moments.at(RunStatus.SCANNING, 2, write)
        at(moments, phase, crash)
    run = scan(dsn, T_K, place, jobs=2, order=order, on_progress=moments)
    with psycopg.connect(dsn, autocommit=True) as db:
        assert told_groups(run) == heap_groups(db, "t", "k")
    assert run.keys[0].groups == GROUPS + 1
    assert any("went away" in message for message in moments.messages)
    assert [text for _, text in run.events] == moments.messages
    if phase is RunStatus.SCANNING:
        assert run.keys[0].rows <= ROWS + 2


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("phase", PHASES)
def test_a_server_that_stays_away_ends_the_scan_which_goes_on_later(
    breakable: Breakable, place: Path, moments: Moments, phase: RunStatus
) -> None:
    dsn = breakable.dsn
    with psycopg.connect(dsn, autocommit=True) as db:
        make_table(db)

    def write() -> None:
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute(WRITE)

    if phase is RunStatus.SCANNING:
        moments.at(phase, 3, lambda: (write(), breakable.server.stop()))
    else:
        moments.at(RunStatus.SCANNING, 2, write)
        at(moments, phase, breakable.server.stop)
    threads = threading.active_count()
    with pytest.raises(ServerUnavailable, match="cannot be reached or went away") as caught:
        scan(dsn, T_K, place, jobs=2, on_progress=moments)
    assert "goes on where it stopped" in (caught.value.hint or "")
    assert threading.active_count() == threads
    stopped = Run.open(place)
    assert stopped.status is RunStatus.INTERRUPTED
    assert stopped.fraction < 1
    if phase is not RunStatus.SCANNING:
        # Before, nothing may have been sure yet to outlast a crash.
        assert stopped.fraction > 0
    with pytest.raises(ServerUnavailable):
        scan(dsn, T_K, place)
    breakable.server.start()
    run = scan(dsn, T_K, place)
    with psycopg.connect(dsn, autocommit=True) as db:
        assert told_groups(run) == heap_groups(db, "t", "k")


@pytest.mark.parametrize("phase", PHASES)
def test_a_backend_that_an_admin_ends_is_replaced(
    database: str, db: Connection, place: Path, moments: Moments, phase: RunStatus
) -> None:
    make_table(db)
    ended: list[int] = []

    def end() -> None:
        ended.extend(
            pid for (pid,) in db.execute(
                "SELECT pg_terminate_backend(pid)::int FROM pg_stat_activity"
                " WHERE application_name = 'pgmend ' || %s", [moments.run.id],
            )
        )

    moments.at(RunStatus.SCANNING, 2, lambda: db.execute(WRITE))
    at(moments, phase, end)
    run = scan(database, T_K, place, jobs=2, on_progress=moments)
    assert sum(ended) >= 1
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert any("went away" in message for message in moments.messages)
    assert run.events


def waiting(db: Connection) -> int:
    """Return a backend of a scan that waits for a lock, once there is one."""
    for _ in range(200):
        row = db.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'pgmend %'"
            " AND wait_event_type = 'Lock' AND datname = current_database()"
        ).fetchone()
        if row is not None:
            return int(row[0])
        threading.Event().wait(0.02)
    pytest.fail("nobody waits for a lock")


def test_a_statement_that_an_admin_cancels_ends_the_scan_which_goes_on(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Scenario: pg_cancel_backend hits a running statement (it waits for a lock here).
    Outcome: that is somebody's wish: the scan ends, says so, and goes on when asked to.
    """
    make_table(db)
    with psycopg.connect(database) as locking:

        def cancel() -> None:
            locking.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            threading.Thread(
                target=lambda: db.execute("SELECT pg_cancel_backend(%s)", [waiting(db)])
            ).start()

        moments.at(RunStatus.SCANNING, 3, cancel)
        with pytest.raises(QueryFailed, match="canceling statement due to user request") as caught:
            scan(database, T_K, place, jobs=1, on_progress=moments)
    assert caught.value.sqlstate == "57014"
    assert "goes on where it stopped" in (caught.value.hint or "")
    read = moments.chunks[RunStatus.SCANNING]
    run = scan(database, T_K, place, jobs=1, on_progress=moments)
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert moments.chunks[RunStatus.SCANNING] > read


@contextmanager
def locked(database: str) -> Iterator[Callable[[], None]]:
    """Give a function that locks the table against everybody for 0.7 seconds."""
    timers: list[threading.Timer] = []
    with psycopg.connect(database) as locking:

        def lock() -> None:
            locking.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
            timers.append(threading.Timer(0.7, locking.rollback))
            timers[-1].start()

        yield lock
        for timer in timers:
            timer.join()


@pytest.mark.parametrize("phase", PHASES)
def test_a_locked_table_is_waited_for(
    database: str, db: Connection, place: Path, moments: Moments, phase: RunStatus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scenario: another session holds the table locked for longer than a read waits.
    Outcome: told, tried again, and finished without a call from outside.
    """
    make_table(db)
    monkeypatch.setitem(sessions.PINNED, "lock_timeout", "200ms")  # type: ignore[arg-type]
    moments.at(RunStatus.SCANNING, 2, lambda: db.execute(WRITE))
    with locked(database) as lock:
        at(moments, phase, lock)
        run = scan(database, T_K, place, jobs=1, on_progress=moments)
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert any("a lock could not be had in time" in message for message in moments.messages)
    assert run.events


@pytest.mark.usefixtures("impatient")
def test_a_table_that_stays_locked_ends_the_scan_which_goes_on(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    make_table(db)
    with psycopg.connect(database) as locking:
        moments.at(
            RunStatus.SCANNING, 3,
            lambda: locking.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE"),
        )
        with pytest.raises(LockNotAvailable) as caught:
            scan(database, T_K, place, jobs=1, on_progress=moments)
        assert "pg_locks" in (caught.value.hint or "")
        with pytest.raises(LockNotAvailable):
            scan(database, T_K, place)
    assert told_groups(scan(database, T_K, place)) == heap_groups(db, "t", "k")


@pytest.fixture
def reader(db: Connection, database: str) -> Iterator[str]:
    """Give the connection string of a role that may read."""
    make_table(db)
    name = f"reader_{db.info.backend_pid}"
    db.execute(f"CREATE ROLE {name} LOGIN; GRANT SELECT ON t TO {name}")
    yield make_conninfo(database, user=name)
    db.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_a_right_that_is_lost_during_the_scan(
    reader: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Outcome: told as what it is; given back, the scan goes on where it was."""
    role = psycopg.conninfo.conninfo_to_dict(reader)["user"]
    moments.at(RunStatus.SCANNING, 3, lambda: db.execute(f"REVOKE SELECT ON t FROM {role}"))
    with pytest.raises(PermissionDenied, match="permission denied for table t"):
        scan(reader, T_K, place, jobs=1, on_progress=moments)
    with pytest.raises(PermissionDenied, match=r"may not read public\.t"):
        scan(reader, T_K, place)
    db.execute(f"GRANT SELECT ON t TO {role}")
    assert told_groups(scan(reader, T_K, place)) == heap_groups(db, "t", "k")


def test_row_security_that_is_switched_on_during_the_scan(
    reader: str, db: Connection, place: Path, moments: Moments
) -> None:
    moments.at(
        RunStatus.SCANNING, 3, lambda: db.execute("ALTER TABLE t ENABLE ROW LEVEL SECURITY")
    )
    with pytest.raises(PermissionDenied, match="row-level security"):
        scan(reader, T_K, place, jobs=1, on_progress=moments)
    with pytest.raises(RowSecurityHidesRows):
        scan(reader, T_K, place)
    db.execute("ALTER TABLE t DISABLE ROW LEVEL SECURITY")
    assert told_groups(scan(reader, T_K, place)) == heap_groups(db, "t", "k")


# The table


REWRITES = ["VACUUM FULL t", "TRUNCATE t", "CLUSTER t USING t_pkey",
            "ALTER TABLE t ADD x float8 DEFAULT random()"]


@pytest.mark.parametrize("statement", REWRITES)
@pytest.mark.parametrize("phase", PHASES)
def test_a_table_that_is_rewritten_during_the_scan_is_refused(
    database: str, db: Connection, place: Path, moments: Moments, statement: str, phase: RunStatus
) -> None:
    """Outcome: refused by name at once, and again when the command is given again."""
    make_table(db)
    moments.at(RunStatus.SCANNING, 2, lambda: db.execute(WRITE))
    at(moments, phase, lambda: db.execute(statement))
    for _ in range(2):
        # The chunk that meets the new heap does not count: it is the one that refuses.
        with pytest.raises(RunMismatch, match=r"public\.t was rewritten since the run") as caught:
            scan(database, T_K, place, jobs=1, on_progress=moments)
        assert caught.value.field == "relfilenode"
        assert caught.value.expected != caught.value.found
        assert "--fresh" in (caught.value.hint or "")
        if phase is not RunStatus.CONFIRMING:
            assert moments.chunks[phase] == 3
    assert Run.open(place).status is RunStatus.INTERRUPTED
    assert told_groups(scan(database, T_K, place, fresh=True)) == heap_groups(db, "t", "k")


def stopped(database: str, key: MatchKey, place: Path, moments: Moments) -> Run:
    """Make an unfinished run that has read some chunks."""
    moments.stop_at(RunStatus.SCANNING, 3)
    run = scan(database, key, place, jobs=1, on_progress=moments)
    assert run.status is RunStatus.INTERRUPTED
    return run


@pytest.mark.parametrize(
    "change",
    [
        "CREATE INDEX i ON t (lower(k))",
        "CREATE INDEX i ON t (k, id)",
        "CREATE INDEX i ON t (k) WHERE id > 5",
        'CREATE INDEX i ON t (k COLLATE "C")',
        "ALTER TABLE t RENAME k TO other; CREATE INDEX i ON t (other)",
        "ALTER TABLE t ALTER k TYPE name; CREATE INDEX i ON t (k)",
    ],
)
def test_a_key_that_means_something_else_is_refused(
    database: str, db: Connection, place: Path, moments: Moments, change: str
) -> None:
    make_table(db)
    db.execute("CREATE INDEX i ON t (k)")
    stopped(database, MatchKey.from_index("i"), place, moments)
    db.execute("DROP INDEX i")
    with pytest.raises(UnknownObject, match="no index i"):
        scan(database, MatchKey.from_index("i"), place)
    db.execute(change)
    with pytest.raises(RunMismatch, match="the run has another key") as caught:
        scan(database, MatchKey.from_index("i"), place)
    assert caught.value.field == "key"
    assert caught.value.expected != caught.value.found


def test_a_key_that_means_the_same_goes_on(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Scenario: the index was rebuilt, then made anew, then named by its column.
    Outcome: the same key in each case.
    """
    make_table(db)
    db.execute("CREATE UNIQUE INDEX i ON t (k, id)")
    stopped(database, MatchKey.from_index("i"), place, moments)
    db.execute("REINDEX INDEX i")
    moments.stop_at(RunStatus.SCANNING, 5)
    scan(database, MatchKey.from_index("i"), place, jobs=1, on_progress=moments)
    db.execute("DROP INDEX i; CREATE INDEX i ON t (k, id DESC)")
    run = scan(database, MatchKey.from_index("i"), place)
    assert (run.keys[0].rows, run.keys[0].groups) == (ROWS, 0)


def test_a_table_that_is_dropped(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Scenario: dropped between two chunks; then one of the same name and rows is made.
    Outcome: an error, then unknown, then refused as another table, by both their oids.
    """
    make_table(db)
    moments.at(RunStatus.SCANNING, 3, lambda: db.execute("DROP TABLE t"))
    with pytest.raises(QueryFailed, match=r'relation "public\.t" does not exist'):
        scan(database, T_K, place, jobs=1, on_progress=moments)
    with pytest.raises(UnknownObject, match="there is no table t"):
        scan(database, T_K, place)
    make_table(db)
    with pytest.raises(RunMismatch, match=r"another table") as caught:
        scan(database, T_K, place)
    assert caught.value.field == "table"
    assert caught.value.expected != caught.value.found


@pytest.fixture
def parts(db: Connection) -> None:
    db.execute(
        "CREATE TABLE t (id int, k text) PARTITION BY RANGE (id);"
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (5000);"
        "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (5000) TO (20000);"
        "INSERT INTO t SELECT n, 'k' || n % 5000 FROM generate_series(1, 15000) n"
    )


NEW_LEAF = "CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM (20000) TO (30000)"
DETACH = "ALTER TABLE t DETACH PARTITION t_1"


@pytest.mark.parametrize(
    ("change", "name", "phase"),
    [
        (NEW_LEAF, "public.t_3", RunStatus.SCANNING),
        (NEW_LEAF, "public.t_3", RunStatus.CONFIRMING),
        (DETACH, "public.t_1", RunStatus.SCANNING),
        (DETACH, "public.t_1", RunStatus.CONFIRMING),
        ("DROP TABLE t_2", "public.t_2", RunStatus.SCANNING),
    ],
)
@pytest.mark.usefixtures("parts")
def test_partitions_that_come_and_go_are_refused_by_name(
    database: str, db: Connection, place: Path, moments: Moments, change: str, name: str,
    phase: RunStatus,
) -> None:
    """Since the checkpoint, and during confirm, when all seems to be read."""
    if phase is RunStatus.SCANNING:
        stopped(database, T_K, place, moments)
        db.execute(change)
    else:
        moments.at(phase, 0, lambda: db.execute(change))
    with pytest.raises(RunMismatch, match=r"the partitions of public\.t changed") as caught:
        scan(database, T_K, place, on_progress=moments)
    assert caught.value.field == "leaves"
    assert name in caught.value.message
    assert Run.open(place).status is RunStatus.INTERRUPTED


@pytest.mark.usefixtures("parts")
def test_leaves_keep_their_numbers_whatever_their_order(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Scenario: between two sessions leaves are renamed and moved, so that they sort otherwise.
    Outcome: the records of the first session still mean the same leaves.
    """
    stopped(database, T_K, place, moments)
    db.execute("CREATE SCHEMA a; ALTER TABLE t_2 SET SCHEMA a; ALTER TABLE t_1 RENAME TO zz")
    run = scan(database, T_K, place)
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert {member.table for group in run.groups() for member in group.members} == {"t_2", "zz"}
    assert {member.schema for group in run.groups() for member in group.members} == {"a", "public"}


def test_another_database_is_refused(
    lab: Server, database: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Scenario: the run is given a copy of its database, in which every oid is the same."""
    make_table(db)
    stopped(database, T_K, place, moments)
    name = f"copy_{db.info.dbname}"
    template = db.info.dbname
    db.close()
    copy = lab.create_database(name, template=template)
    try:
        with pytest.raises(RunMismatch, match="another database") as caught:
            scan(copy, T_K, place)
        assert caught.value.field == "database_oid"
        assert template in caught.value.message
        assert name in caught.value.message
    finally:
        lab.drop_database(name)


def test_another_server_is_refused(
    database: str, db: Connection, breakable: Breakable, place: Path, moments: Moments
) -> None:
    make_table(db)
    stopped(database, T_K, place, moments)
    with psycopg.connect(breakable.dsn, autocommit=True) as other:
        make_table(other)
    with pytest.raises(RunMismatch, match="system identifier") as caught:
        scan(breakable.dsn, T_K, place)
    assert caught.value.field == "system"


# Damaged storage


def toasted(db: Connection) -> None:
    """Make a table whose keys are stored outside of their rows, two chunks a key."""
    db.execute(
        "CREATE TABLE t (id int PRIMARY KEY, k text); ALTER TABLE t ALTER k SET STORAGE EXTERNAL;"
        "INSERT INTO t SELECT n, repeat(md5((n % 110)::text), 100) FROM generate_series(1, 120) n"
    )


def toast_of(db: Connection) -> str:
    row = db.execute(
        "SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 't'::regclass"
    ).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize("order", ["physical", "key"])
@pytest.mark.parametrize("how", ["lost", "invalid"])
def test_a_toasted_key_that_cannot_be_read_is_reported_by_its_row(
    breakable: Breakable, place: Path, order: str, how: str
) -> None:
    """Scenario: a page of the TOAST table is lost, or invalid.
    Outcome: its rows are reported by their addresses, all others are scanned.
    """
    dsn = breakable.dsn
    with psycopg.connect(dsn, autocommit=True) as db:
        toasted(db)
        before = heap_groups(db, "t", "k")
        file, size = page_of(db, toast_of(db))
    breakable.spoil(file, [5], size, b"\0" * size if how == "lost" else b"\xff" * 24)
    with psycopg.connect(dsn, autocommit=True) as db:
        broken = set()
        for (ctid,) in db.execute("SELECT ctid::text FROM t").fetchall():
            try:
                db.execute("SELECT md5(k) FROM t WHERE ctid = %s", [ctid])
            except psycopg.errors.DataCorrupted:
                broken.add(ctid)
    assert 1 <= len(broken) < 10
    run = scan(dsn, T_K, place, order=order)
    assert {row.ctid for row in run.unreadable} == broken
    assert {(row.schema, row.table) for row in run.unreadable} == {("public", "t")}
    assert all("damaged data" in row.message for row in run.unreadable)
    assert {row.block for row in run.unreadable} == {
        int(str(row.ctid)[1:-1].split(",")[0]) for row in run.unreadable
    }
    lost = {f"t{ctid}" for ctid in broken}
    assert told_groups(run) == {group for group in before if not group & lost}
    assert run.status is RunStatus.FINISHED
    assert run.keys[0].rows == 120 - len(broken)


def test_a_key_that_becomes_unreadable_before_confirm(
    breakable: Breakable, place: Path, moments: Moments
) -> None:
    """Scenario: the main pass could read a key that confirm cannot.
    Outcome: that row is reported, the other groups are told.
    """
    dsn = breakable.dsn
    with psycopg.connect(dsn, autocommit=True) as db:
        toasted(db)
        before = heap_groups(db, "t", "k")
        file, size = page_of(db, toast_of(db))

    def ruin() -> None:
        breakable.spoil(file, [1], size, b"\0" * size)

    moments.at(RunStatus.CONFIRMING, 0, ruin)
    run = scan(dsn, T_K, place, on_progress=moments)
    lost = {f"t{row.ctid}" for row in run.unreadable}
    assert lost
    assert told_groups(run) == {group for group in before if not group & lost}
    assert len(told_groups(run)) < len(before)


@pytest.mark.parametrize("jobs", [1, 3])
def test_invalid_pages_are_reported_as_blocks(
    breakable: Breakable, place: Path, jobs: int
) -> None:
    """Scenario: the first, a middle and the last page of the heap are invalid.
    Outcome: three blocks are reported, and every group of other rows is found.
    """
    dsn = breakable.dsn
    with psycopg.connect(dsn, autocommit=True) as db:
        make_table(db)
        before = heap_groups(db, "t", "k")
        file, size = page_of(db, "t")
        (blocks,) = db.execute("SELECT pg_relation_size('t') / %s", [size]).fetchone() or (0,)
    bad = {0, 40, int(blocks) - 1}
    breakable.spoil(file, bad, size, b"\xff" * 24)
    run = scan(dsn, T_K, place, jobs=jobs)
    assert [(row.block, row.ctid) for row in run.unreadable] == [(n, None) for n in sorted(bad)]
    assert all("invalid page" in row.message for row in run.unreadable)
    lost = {
        group for group in before if any(int(row[2:].split(",")[0]) in bad for row in group)
    }
    assert lost
    assert told_groups(run) == before - lost


def test_an_invalid_page_of_a_tiny_table_is_one_block(breakable: Breakable, place: Path) -> None:
    """Scenario: a table of three blocks, which are read one by one; the middle one is invalid."""
    dsn = breakable.dsn
    with psycopg.connect(dsn, autocommit=True) as db:
        make_table(db, rows=500)
        before = heap_groups(db, "t", "k")
        file, size = page_of(db, "t")
    breakable.spoil(file, [1], size, b"\xff" * 24)
    run = scan(dsn, T_K, place)
    assert [(row.block, row.ctid) for row in run.unreadable] == [(1, None)]
    assert told_groups(run) == {
        group for group in before if not any(row.startswith("t(1,") for row in group)
    }


def test_an_invalid_page_at_the_end_of_a_long_chunk_is_one_block(
    breakable: Breakable, place: Path
) -> None:
    """Scenario: the last, open-ended chunk has more than a thousand blocks; the last is invalid.
    Outcome: found by halves, not block by block.
    """
    dsn = breakable.dsn
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("CREATE TABLE t (id int, k text NOT NULL, filler char(3900) NOT NULL)")
        db.execute("ALTER TABLE t ALTER filler SET STORAGE PLAIN")
        db.execute("INSERT INTO t SELECT n, n % 2390, '' FROM generate_series(1, 2400) n")
        before = heap_groups(db, "t", "k")
        file, size = page_of(db, "t")
    breakable.spoil(file, [1199], size, b"\xff" * 24)
    reads = 0
    read = ChunkReader._read

    def counted(*arguments: object) -> object:
        nonlocal reads
        reads += 1
        return read(*arguments)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, connect(dsn).open() as session:
        patch.setattr(ChunkReader, "_read", counted)
        leaf = load_table(session, find_relation(session, "t")).leaves[0]
        chunk = ChunkReader([resolve(session, T_K)]).read(session, leaf, 0, None)
    assert chunk.rows == 2398
    assert [(row.block, row.offset) for row in chunk.unreadable] == [(1199, 0)]
    assert reads < 60
    run = scan(dsn, T_K, place)
    assert [(row.block, row.ctid) for row in run.unreadable] == [(1199, None)]
    assert told_groups(run) == {
        group for group in before if not any(row.startswith("t(1199,") for row in group)
    }


def test_damage_that_the_sweep_meets_is_reported_once(
    breakable: Breakable, place: Path, moments: Moments
) -> None:
    """Scenario: a page becomes invalid behind the main pass; the sweep reads it once more.
    Outcome: reported once; what the main pass read of it is no part of the answer.
    """
    dsn = breakable.dsn
    with psycopg.connect(dsn, autocommit=True) as db:
        make_table(db)
        file, size = page_of(db, "t")
        before = heap_groups(db, "t", "k")

    def ruin() -> None:
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute("UPDATE t SET k = k WHERE id = 14000")
        breakable.spoil(file, [0], size, b"\xff" * 24)

    moments.at(RunStatus.SCANNING, 6, ruin)
    run = scan(dsn, T_K, place, jobs=1, on_progress=moments)
    assert [(row.block, row.ctid) for row in run.unreadable if row.ctid is None] == [(0, None)]
    assert told_groups(run) == {
        group for group in before if not any(row.startswith("t(0,") for row in group)
    }


# The run directory


@contextmanager
def no_file_beyond(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", [60_000, 150_000])
def test_a_spill_that_cannot_grow_ends_the_scan_which_goes_on(
    database: str, db: Connection, place: Path, moments: Moments, limit: int
) -> None:
    """Scenario: no file of the run may grow beyond some size, as on a disk that is full.
    Outcome: one error that names the file; with room again the scan goes on.
    """
    make_table(db)
    with no_file_beyond(limit), pytest.raises(LocalStorageError) as caught:
        scan(database, T_K, place, jobs=2, on_progress=moments)
    assert str(place) in caught.value.message
    assert "goes on from its last checkpoint" in (caught.value.hint or "")
    assert Run.open(place).status is RunStatus.INTERRUPTED
    run = scan(database, T_K, place, jobs=2)
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert run.keys[0].rows == ROWS


def test_groups_that_cannot_be_written_end_the_scan_which_goes_on(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Scenario: the disk fills up while groups are written.
    Outcome: an error that names the file, no half groups, and the truth afterwards.
    """
    db.execute("CREATE TABLE t (id int8 PRIMARY KEY, k text)")
    db.execute("INSERT INTO t SELECT n, 'k' || n / 2 FROM generate_series(1, 12000) n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    moments.at(
        RunStatus.CONFIRMING, 0,
        lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (220_000, before[1])),
    )
    try:
        with pytest.raises(LocalStorageError, match="groups") as caught:
            scan(database, T_K, place, jobs=1, on_progress=moments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(place) in caught.value.message
    assert "goes on from the sweep" in (caught.value.hint or "")
    assert not (place / "groups.sqlite").exists()
    assert Run.open(place).status is RunStatus.INTERRUPTED
    run = scan(database, T_K, place)
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert run.keys[0].groups == 5999


def test_a_disk_that_is_too_small_is_refused_before_a_row_is_read(
    database: str, db: Connection, tmp_path: Path, moments: Moments
) -> None:
    """Scenario: a disk of 17 MB for the records of 500,000 rows; then it fills up in the
    middle of a scan that would have fitted; then there is room again.
    Outcome: refused with both numbers; ended with the directory's name; gone on with.
    """
    make_table(db)
    db.execute("CREATE TABLE large AS SELECT n AS k FROM generate_series(1, 500000) n")
    with small_disk(tmp_path / "disk", 17 << 20) as disk:
        place = disk / "run"
        with pytest.raises(NotEnoughSpace) as refused:
            scan(database, MatchKey.from_columns("large", "k"), place, on_progress=moments)
        assert refused.value.needed >= 16 * 500_000
        assert refused.value.free < 1 << 20
        assert str(place) in refused.value.message
        assert moments.chunks[RunStatus.SCANNING] == 0
        moments.at(RunStatus.SCANNING, 4, lambda: fill(disk, 50_000))
        place = disk / "other"
        with pytest.raises(LocalStorageError) as full:
            scan(database, T_K, place, jobs=1, on_progress=moments)
        # Whoever of the two writes first: the spill, or SQLite the run's state.
        assert re.search("No space left on device|disk is full", full.value.message)
        assert str(place) in full.value.message
        with pytest.raises((NotEnoughSpace, LocalStorageError)):
            scan(database, T_K, place)
        (disk / "filler").unlink()
        run = scan(database, T_K, place)
        assert told_groups(run) == heap_groups(db, "t", "k")


def test_files_of_a_run_that_are_damaged_are_named(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    make_table(db)
    stopped(database, T_K, place, moments)
    spill, state = place / "spill", place / "state.sqlite"
    whole, facts = spill.read_bytes(), state.read_bytes()
    for file, data in (
        (spill, whole[:-7]),
        (spill, b""),
        (spill, b"\xff" * 40 + whole[40:]),
        (state, facts[:9000]),
        (state, b"\xff" * len(facts)),
    ):
        spill.write_bytes(whole)
        state.write_bytes(facts)
        file.write_bytes(data)
        with pytest.raises(RunDirectoryDamaged) as caught:
            scan(database, T_K, place)
        assert caught.value.path == file
        assert "--fresh" in (caught.value.hint or "")
    run = scan(database, T_K, place, fresh=True)
    assert told_groups(run) == heap_groups(db, "t", "k")
    groups = place / "groups.sqlite"
    for data in (groups.read_bytes()[:4097], b"", b"x" * 9000):
        groups.write_bytes(data)
        with pytest.raises(RunDirectoryDamaged, match=r"groups\.sqlite is damaged") as caught:
            told_groups(Run.open(place))
        assert caught.value.path == groups
    groups.unlink()
    with pytest.raises(RunDirectoryDamaged, match=r"groups\.sqlite is missing"):
        told_groups(Run.open(place))


def test_directories_that_are_no_runs_are_left_alone(
    database: str, db: Connection, tmp_path: Path
) -> None:
    """A foreign directory, one with a foreign file beside a run's, a file, another format."""
    make_table(db)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "letters").write_text("mine")
    (foreign / "spill").write_text("mine too")
    file = tmp_path / "file"
    file.write_text("mine")
    for place in (foreign, file, file / "below"):
        for fresh in (False, True):
            with pytest.raises(NotARunDirectory, match="is not a run directory") as caught:
                scan(database, T_K, place, fresh=fresh)
            assert caught.value.path == place
    assert (foreign / "spill").read_text() == "mine too"
    assert file.read_text() == "mine"
    older = tmp_path / "older"
    scan(database, T_K, older)
    with State.opened(older) as state, state.commit():
        state.save_facts(format_version=99)
    with pytest.raises(NotARunDirectory, match="format 99"):
        scan(database, T_K, older)
    assert scan(database, T_K, older, fresh=True).status is RunStatus.FINISHED
    own = tmp_path / "own"
    scan(database, T_K, own)
    (own / "notes").write_text("mine")
    scan(database, T_K, own, fresh=True)
    assert (own / "notes").read_text() == "mine"


# Names


def test_hostile_names_of_tables_columns_and_values(
    database: str, db: Connection, tmp_path: Path
) -> None:
    names = ['a""; drop table t; --', "MiXed x'y\\", "tab\tand\nline %s $1 {}"]
    for number, name in enumerate(names):
        quoted = '"' + name.replace('"', '""') + '"'
        table = f"{quoted}.{quoted}"
        db.execute(f"CREATE SCHEMA {quoted}; CREATE TABLE {table} ({quoted} text)".encode())
        with db.cursor() as cursor:
            cursor.executemany(
                f"INSERT INTO {table} VALUES (%s)".replace(quoted, quoted.replace("%", "%%")),
                [[name], [name], ["other"], [None]],
            )
        index, pk = f'{quoted[:-1]} index"', f'{quoted[:-1]} id"'
        db.execute(f"CREATE INDEX {index} ON {table} ({quoted}, lower({quoted}))".encode())
        db.execute(f"ALTER TABLE {table} ADD {pk} serial PRIMARY KEY".encode())
        for way, key in (
            ("column", MatchKey.from_columns(table, name)),
            ("expression", MatchKey.from_columns(table, f"upper({quoted})")),
            ("index", MatchKey.from_index(f"{quoted}.{index}")),
        ):
            run = scan(database, key, tmp_path / f"{number}{way}", order="key")
            (group,) = run.groups()
            assert {(member.schema, member.table) for member in group.members} == {(name, name)}
            assert [member.pk for member in group.members] == [
                {f"{name} id": "1"}, {f"{name} id": "2"},
            ]
            if way == "column":
                assert {member.key for member in group.members} == {(name,)}


def test_text_of_no_encoding_is_found_byte_by_byte(lab: Server, tmp_path: Path) -> None:
    """Scenario: a database that checks no encoding: names and values of schema, table, columns,
    index and rows are Latin-1.
    Outcome: found by their bytes, and told with each byte, whatever it is.
    """
    name = f"ascii_{tmp_path.parent.name.replace('-', '_')}"
    with psycopg.connect(lab.dsn(), autocommit=True) as admin:
        admin.execute(
            f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
            " TEMPLATE template0"
        )
    try:
        dsn = lab.dsn(name)
        with psycopg.connect(dsn, autocommit=True, client_encoding="SQL_ASCII") as db:
            db.execute(b'CREATE SCHEMA "s\xe9"; CREATE TABLE "s\xe9"."t\xff" ("i\xf6" int8,'
                       b' "c\xfe" text, PRIMARY KEY ("i\xf6"))')
            db.execute(b'INSERT INTO "s\xe9"."t\xff" VALUES (1, \'x\xe9\'), (2, \'x\xe9\'),'
                       b" (3, 'y'), (4, 'x\xc3\xa9')")
            db.execute(b'CREATE INDEX "n\xfd" ON "s\xe9"."t\xff" ("c\xfe", lower("c\xfe"))')
        table = '"s\udce9"."t\udcff"'
        keys = [
            MatchKey.from_columns(table, "c\udcfe"),
            MatchKey.from_columns(table, 'upper("c\udcfe")'),
            MatchKey.from_index('"s\udce9"."n\udcfd"'),
        ]
        for number, (order, key) in enumerate(
            (order, key) for order in ("physical", "key") for key in keys
        ):
            run = scan(dsn, key, tmp_path / str(number), order=order)
            (group,) = run.groups()
            assert [member.pk for member in group.members] == [
                {"i\udcf6": "1"}, {"i\udcf6": "2"},
            ]
            assert {(m.schema, m.table) for m in group.members} == {("s\udce9", "t\udcff")}
            assert run.table == "s\udce9.t\udcff"
        assert next(iter(group.members)).key == ("x\udce9", "x\udce9")
        with pytest.raises(UnknownObject, match="there is no table nowh\udce9re"):
            scan(dsn, MatchKey.from_columns("nowh\udce9re", "k"), tmp_path / "x")
        assert connect(dsn).where.dbname == name
    finally:
        lab.drop_database(name)

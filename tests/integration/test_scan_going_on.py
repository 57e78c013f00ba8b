"""A scan goes on wherever it ended: nothing is read twice, nothing is skipped, nothing is mixed."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from dedupe import MatchKey, Progress, Run, RunStatus, connect, scan
from dedupe.errors import RunInUse, RunMismatch, UsageError
from dedupe.key import resolve
from dedupe.scan import owner
from dedupe.scan.checkpoint import Segment, State
from dedupe.scan.chunk import ChunkReader
from dedupe.scan.owner import LOCK_FILE
from dedupe.scan.pace import PAUSE_FILE, STOP_FILE, Budget, ChunkSize
from dedupe.scan.position import PhysicalOrder, block_segments
from dedupe.session import Session
from dedupe.table import Leaf, find_relation, load_table

from ..scanning import GROUPS, ROWS, Connection, Moments, heap_groups, make_table, told_groups

T_K = MatchKey.from_columns("t", "k")


@pytest.fixture(autouse=True)
def _table(db: Connection) -> None:
    make_table(db)


def edit(place: Path, **facts: object) -> None:
    """Change what a run's state says."""
    with State.opened(place) as state, state.commit():
        state.save_facts(**facts)


def fact(place: Path, name: str) -> object:
    with State.opened(place) as state:
        return state.fact(name)


@pytest.mark.parametrize("order", ["physical", "key"])
def test_a_stop_in_the_main_pass_costs_nothing(
    database: str, db: Connection, place: Path, moments: Moments, order: str
) -> None:
    """Scenario: stopped after each single chunk, and given again until it is finished.
    Outcome: as many chunks in all as without a stop; the same groups and counts.
    """
    whole = scan(database, T_K, place.with_name("w"), jobs=1, order=order, on_progress=moments)
    chunks = moments.chunks[RunStatus.SCANNING]
    assert chunks > 8
    for number in range(1, chunks + 1):
        moments.stop_at(RunStatus.SCANNING, chunks + number)
    sessions = 0
    while (run := scan(database, T_K, place, jobs=1, order=order, on_progress=moments)).status:
        sessions += 1
        if run.status is RunStatus.FINISHED:
            break
        assert run.status is RunStatus.INTERRUPTED
        assert run.as_of is None
        assert run.fraction < 1
        with pytest.raises(UsageError, match="not finished"):
            run.groups()
    assert sessions == chunks + 1
    assert moments.chunks[RunStatus.SCANNING] == 2 * chunks
    assert told_groups(run) == told_groups(whole) == heap_groups(db, "t", "k")
    assert (run.keys[0].rows, run.keys[0].groups) == (ROWS, GROUPS)


def test_the_share_done_is_kept(
    database: str, place: Path, moments: Moments
) -> None:
    moments.stop_at(RunStatus.SCANNING, 4)
    stopped = scan(database, T_K, place, jobs=1, on_progress=moments)
    before = stopped.fraction
    assert 0.1 < before < 0.3
    moments.events.clear()
    scan(database, T_K, place, jobs=1, on_progress=moments)
    assert moments.events[0].fraction == pytest.approx(before)
    shares = [event.fraction for event in moments.events]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_a_stop_as_the_sweep_begins(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Scenario: rows are written while the main pass is read; stopped in the first sweep.
    Outcome: the next session sweeps again, under a snapshot that sees what came since.
    """
    moments.at(RunStatus.SCANNING, 2, lambda: db.execute("INSERT INTO t VALUES (-1, 'k5')"))
    moments.stop_at(RunStatus.SWEEPING, 1)
    stopped = scan(database, T_K, place, jobs=1, on_progress=moments)
    assert stopped.status is RunStatus.INTERRUPTED
    read = moments.chunks[RunStatus.SCANNING]
    db.execute("INSERT INTO t VALUES (-2, 'k6'); DELETE FROM t WHERE id = 7")
    run = scan(database, T_K, place, jobs=1, on_progress=moments)
    assert moments.chunks[RunStatus.SCANNING] == read, "the main pass is not read again"
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert run.keys[0].rows_in_groups == 2 * GROUPS + 2 - 2
    assert run.as_of is not None
    assert run.as_of > run.started


@pytest.mark.parametrize("how", ["stop", "error"])
def test_a_stop_as_confirm_begins(
    database: str, db: Connection, place: Path, moments: Moments, how: str
) -> None:
    """Scenario: stopped in confirm, or ended there by what on_progress raises.
    Outcome: no groups are left behind; the next session finds them all.
    """
    if how == "stop":
        moments.stop_at(RunStatus.CONFIRMING)
        assert scan(database, T_K, place, on_progress=moments).status is RunStatus.INTERRUPTED
    else:
        def fail() -> None:
            raise ZeroDivisionError

        moments.at(RunStatus.CONFIRMING, 0, fail)
        with pytest.raises(ZeroDivisionError):
            scan(database, T_K, place, on_progress=moments)
        assert Run.open(place).status is RunStatus.INTERRUPTED
    assert not list(place.glob("groups*"))
    db.execute("UPDATE t SET k = 'k1' WHERE id = 9000")
    run = scan(database, T_K, place, on_progress=moments)
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert max(len(group.members) for group in run.groups()) == 3


def test_a_power_loss_in_confirm_costs_only_the_sweep(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Scenario: what the sweep appended to the spill never reached the disk.
    Outcome: the run goes on from its main pass; it is not called damaged.
    """
    moments.at(RunStatus.SCANNING, 2, lambda: db.execute("INSERT INTO t VALUES (-1, 'k500')"))
    moments.stop_at(RunStatus.CONFIRMING)
    scan(database, T_K, place, on_progress=moments)
    length = fact(place, "main_length")
    assert isinstance(length, int)
    assert (place / "spill").stat().st_size > length
    with (place / "spill").open("r+b") as spill:
        spill.truncate(length)
    run = scan(database, T_K, place)
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert run.keys[0].groups == GROUPS + 1


def test_an_error_of_the_caller_ends_the_scan_at_its_checkpoint(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    threads = threading.active_count()
    moments.at(RunStatus.SCANNING, 3, fail)
    with pytest.raises(ZeroDivisionError):
        scan(database, T_K, place, jobs=1, on_progress=moments)
    assert threading.active_count() == threads
    run = scan(database, T_K, place, jobs=1, on_progress=moments)
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert run.keys[0].rows == ROWS


def test_a_finished_run_is_returned_as_it_is(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Scenario: the table changes after the scan, and was even rewritten.
    Outcome: the result of its moment, with no chunk read; fresh begins anew.
    """
    first = scan(database, T_K, place)
    groups, as_of = told_groups(first), first.as_of
    db.execute("DELETE FROM t WHERE id <= 50")
    db.execute("VACUUM FULL t")
    again = scan(database, T_K, place, on_progress=moments)
    assert (told_groups(again), again.as_of) == (groups, as_of)
    assert moments.events == []
    fresh = scan(database, T_K, place, fresh=True)
    assert told_groups(fresh) == heap_groups(db, "t", "k")
    assert fresh.keys[0].groups == GROUPS - 50


def test_fresh_throws_an_unfinished_run_away(
    database: str, place: Path, moments: Moments
) -> None:
    moments.stop_at(RunStatus.SCANNING, 3)
    stopped = scan(database, T_K, place, jobs=1, on_progress=moments)
    name = stopped.id
    (place / PAUSE_FILE).touch()
    run = scan(database, MatchKey.from_columns("t", "id"), place, fresh=True)
    assert run.id != name
    assert run.keys[0].groups == 0
    assert run.keys[0].rows == ROWS


def test_another_key_or_order_is_refused(
    database: str, place: Path, moments: Moments
) -> None:
    moments.stop_at(RunStatus.SCANNING, 1)
    scan(database, T_K, place, jobs=1, order="key", on_progress=moments)
    with pytest.raises(RunMismatch, match="in key order, not in physical order") as caught:
        scan(database, T_K, place, order="physical")
    assert (caught.value.field, caught.value.expected, caught.value.found) == (
        "order", "key", "physical",
    )
    with pytest.raises(RunMismatch, match="another key") as key:
        scan(database, MatchKey.from_columns("t", "id"), place)
    assert key.value.field == "key"
    with pytest.raises(RunMismatch, match="1 keys, not 2"):
        scan(database, [T_K, T_K], place)
    # "auto" goes on in the order that was begun.
    run = scan(database, T_K, place)
    assert run.status is RunStatus.FINISHED
    assert fact(place, "order") == "key"


@pytest.mark.parametrize("order", ["physical", "key"])
def test_what_comes_and_moves_during_the_scan_is_found(
    database: str, db: Connection, place: Path, moments: Moments, order: str
) -> None:
    """Scenario: between two chunks rows are inserted behind and before the position, one
    is moved from an unread block to a read one, one is deleted, the table grows by half.
    Outcome: exactly the groups of the snapshot.
    """

    def write() -> None:
        db.execute("DELETE FROM t WHERE id <= 150")
        db.execute("VACUUM t")
        db.execute("INSERT INTO t VALUES (-5, 'k300'), (30000, 'k301')")
        db.execute("UPDATE t SET id = -id WHERE k IN ('k14000', 'k14001')")
        db.execute("UPDATE t SET k = 'k14002' WHERE k = 'k14003'")
        db.execute(
            f"INSERT INTO t SELECT n, 'k' || n - {ROWS} FROM generate_series(15500, 23000) n"
        )

    db.execute("VACUUM t")
    moments.at(RunStatus.SCANNING, 2, write)
    run = scan(database, T_K, place, jobs=1, order=order, on_progress=moments)
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert run.keys[0].groups > 7000
    assert moments.chunks[RunStatus.SWEEPING] > 0
    assert run.sweep_seconds > 0


def test_an_open_transaction_from_before_is_not_missed(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Scenario: a transaction wrote before the scan began and commits in its middle, with a
    subtransaction; another one is rolled back.
    Outcome: the groups are those of the snapshot.
    """
    with psycopg.connect(database) as early, psycopg.connect(database) as undone:
        early.execute("INSERT INTO t VALUES (-1, 'k700')")
        with early.transaction():
            early.execute("INSERT INTO t VALUES (-2, 'k701')")
        undone.execute("INSERT INTO t VALUES (-3, 'k702')")

        def end() -> None:
            early.commit()
            undone.rollback()

        moments.at(RunStatus.SCANNING, 9, end)
        run = scan(database, T_K, place, jobs=1, on_progress=moments)
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert run.keys[0].groups == GROUPS + 2


def test_the_sweep_is_left_out_only_if_nobody_wrote(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    run = scan(database, T_K, place, jobs=1, on_progress=moments)
    assert moments.chunks[RunStatus.SWEEPING] == 0
    assert run.sweep_seconds == 0.0
    moments.at(RunStatus.SCANNING, moments.chunks[RunStatus.SCANNING] + 1,
               lambda: db.execute("SELECT pg_current_xact_id()"))
    scan(database, T_K, place.with_name("other"), jobs=1, on_progress=moments)
    assert moments.chunks[RunStatus.SWEEPING] > 0


def test_growth_is_read_in_chunks_that_the_memory_holds(database: str, db: Connection) -> None:
    """Scenario: the table grows a hundredfold between the cutting of its segments and the
    reading of the last one, which is open-ended.
    Outcome: no answer is larger than a chunk may be.
    """
    db.execute("CREATE TABLE small (k int8 NOT NULL)")
    with connect(database).open() as session:
        table = load_table(session, find_relation(session, "small"))
        key = resolve(session, MatchKey.from_columns("small", "k"))
        db.execute("INSERT INTO small SELECT n FROM generate_series(1, 300000) n")
        budget = Budget.share(8 << 20, 1)
        size = ChunkSize(budget.chunk_bytes, table.leaves[0].block_rows, 1)
        (segment,) = block_segments(table.leaves, 1)
        rows = walk(PhysicalOrder(ChunkReader([key])), session, table.leaves[0], segment, size)
    assert sum(rows) == 300_000
    assert max(rows) <= size.rows


def test_blocks_that_get_fuller_are_read_in_chunks_that_the_memory_holds(
    database: str, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: most blocks hold a wide row each, then come blocks of 200 narrow rows.
    Outcome: no chunk holds more rows than its memory does, and none is missing.
    """
    db.execute("CREATE TABLE uneven (k int8 NOT NULL, filler text)")
    db.execute("ALTER TABLE uneven ALTER filler SET STORAGE PLAIN")
    db.execute("INSERT INTO uneven SELECT n, repeat('x', 7000) FROM generate_series(1, 4000) n")
    db.execute("INSERT INTO uneven SELECT n, NULL FROM generate_series(1, 400000) n")
    with connect(database).open() as session:
        table = load_table(session, find_relation(session, "uneven"))
        key = resolve(session, MatchKey.from_columns("uneven", "k"))
        size = ChunkSize(Budget.share(8 << 20, 1).chunk_bytes, table.leaves[0].block_rows, 1)
        refused: list[int] = []
        halve = size.too_many
        monkeypatch.setattr(size, "too_many", lambda: (refused.append(size.blocks), halve()))
        order = PhysicalOrder(ChunkReader([key]))
        rows = [
            chunk
            for segment in block_segments(table.leaves, 1)
            for chunk in walk(order, session, table.leaves[0], segment, size)
        ]
    assert sum(rows) == 404_000
    assert max(rows) <= size.rows
    assert refused, "no chunk was ever too large: the scenario shows nothing"


def test_stretches_of_nulls_and_stretches_without_are_read_alike(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Scenario: keys, then two NULLs of three, then keys again, in many chunks, and a second
    key over the same rows that leaves none out.
    Outcome: both keys' groups are those of the heap, and every row is accounted for.
    """
    db.execute("CREATE TABLE holes (id int8 NOT NULL, k text, filler text NOT NULL)")
    db.execute(
        "INSERT INTO holes SELECT n % 29990, CASE WHEN n BETWEEN 10000 AND 20000 AND n % 3 > 0"
        " THEN NULL ELSE (n % 29000)::text END, repeat('x', 100) FROM generate_series(1, 30000) n"
    )
    keys = [MatchKey.from_columns("holes", name) for name in ("k", "id")]
    run = scan(database, keys, place, jobs=2, on_progress=moments)
    assert moments.chunks[RunStatus.SCANNING] > 20
    for number, name in enumerate(("k", "id")):
        found = {
            tuple(sorted(str(member.ctid) for member in group.members))
            for group in run.groups()
            if group.key_name == run.keys[number].name
        }
        wanted = db.execute(
            f"SELECT array_agg(ctid::text ORDER BY ctid::text) FROM holes WHERE {name} IS NOT NULL"
            f" GROUP BY {name} HAVING count(*) > 1"
        ).fetchall()
        assert found == {tuple(sorted(ctids)) for (ctids,) in wanted}
        assert found
    nulls = db.execute("SELECT count(*) - count(k) FROM holes").fetchone()
    assert [key.left_out for key in run.keys] == [*nulls, 0]


def walk(
    order: PhysicalOrder, session: Session, leaf: Leaf, segment: Segment, size: ChunkSize
) -> list[int]:
    """Read a segment to its end; the rows of each chunk."""
    position, rows = segment.next, []
    while position is not None:
        step = order.step(session, leaf, segment, position, size)
        rows.append(step.chunk.rows)
        position = step.next
    return rows


def test_a_stop_does_not_wait_for_what_confirm_asked_ahead(
    database: str, db: Connection, place: Path, moments: Moments
) -> None:
    """Scenario: somebody locks the table as confirm begins; two questions wait for it.
    Outcome: a stop ends both; the scan goes on later.
    """
    stopped: list[float] = []

    def stop() -> None:
        time.sleep(0.5)
        stopped.append(time.monotonic())
        moments.run.stop()

    with psycopg.connect(database) as other:
        moments.at(
            RunStatus.CONFIRMING, 0,
            lambda: (other.execute("LOCK TABLE t"), threading.Thread(target=stop).start()),
        )
        run = scan(database, T_K, place, jobs=1, on_progress=moments)
        assert time.monotonic() - stopped[0] < 2
    assert run.status is RunStatus.INTERRUPTED
    assert told_groups(scan(database, T_K, place)) == heap_groups(db, "t", "k")


@pytest.mark.parametrize("phase", [RunStatus.SCANNING, RunStatus.SWEEPING, RunStatus.CONFIRMING])
def test_the_pause_file_holds_the_scan_and_tells_why(
    database: str, db: Connection, place: Path, moments: Moments, phase: RunStatus
) -> None:
    """Scenario: a file ``pause`` appears in each phase, and is removed once the scan waits.
    Outcome: the reason is shown, nothing is read meanwhile, and the scan goes on.
    """
    pause = place / PAUSE_FILE
    held: list[int] = []

    def watch(event: Progress) -> None:
        moments(event)
        if event.waiting:
            assert event.waiting == f"paused: remove {pause} to go on"
            held.append(sum(moments.chunks.values()))
            if len(held) > 5:
                pause.unlink(missing_ok=True)

    moments.at(RunStatus.SCANNING, 1, lambda: db.execute("INSERT INTO t VALUES (-1, 'k5')"))
    moments.at(phase, 0 if phase is RunStatus.CONFIRMING else 2, pause.touch)
    run = scan(database, T_K, place, jobs=1, on_progress=watch)
    assert len(held) > 5
    assert len(set(held)) == 1
    assert not pause.exists()
    assert told_groups(run) == heap_groups(db, "t", "k")


def test_a_paused_scan_can_be_stopped(database: str, place: Path, moments: Moments) -> None:
    def watch(event: Progress) -> None:
        moments(event)
        if event.waiting:
            event.run.stop()

    moments.at(RunStatus.SCANNING, 2, (place / PAUSE_FILE).touch)
    started = time.monotonic()
    run = scan(database, T_K, place, jobs=2, on_progress=watch)
    assert run.status is RunStatus.INTERRUPTED
    assert time.monotonic() - started < 5


def test_nice_leaves_the_server_alone_for_its_share(
    database: str, place: Path, moments: Moments
) -> None:
    """Outcome: with nice 9, at most about a tenth of the main pass is spent reading."""
    scan(database, T_K, place, jobs=1, nice=9, on_progress=moments)
    main = [event.seconds for event in moments.events if event.phase is RunStatus.SCANNING]
    slow = main[-1] - main[0]
    moments.events.clear()
    scan(database, T_K, place.with_name("other"), jobs=1, on_progress=moments)
    main = [event.seconds for event in moments.events if event.phase is RunStatus.SCANNING]
    assert slow > 2 * (main[-1] - main[0])


def test_a_stop_from_another_process_is_a_file(
    database: str, place: Path, moments: Moments
) -> None:
    """Scenario: another handle on the run's directory, without the scan's own, asks for a stop.
    Outcome: the scan ends unfinished, and the request is not there for the next session.
    """
    moments.at(RunStatus.SCANNING, 2, lambda: Run.open(place).stop())
    slow = scan(database, T_K, place, jobs=1, nice=30, on_progress=moments)
    assert slow.status is RunStatus.INTERRUPTED
    assert not (place / STOP_FILE).exists()
    slow.stop()
    assert (place / STOP_FILE).exists(), "asked of a run that nobody works on"
    assert scan(database, T_K, place).status is RunStatus.FINISHED


_OWNER = """
import fcntl, sys
handle = open(sys.argv[1], "w")
fcntl.flock(handle, fcntl.LOCK_EX)
print("owned", flush=True)
sys.stdin.read()
"""


def test_two_processes_cannot_work_on_one_run(database: str, place: Path) -> None:
    """Scenario: another process owns the directory; then it is killed.
    Outcome: refused at once, told as at work; afterwards the run is free.
    """
    scan(database, T_K, place)
    edit(place, phase="scanning")
    with subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(place / LOCK_FILE)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "owned\n"
        started = time.monotonic()
        for fresh in (False, True):
            with pytest.raises(RunInUse, match="another process works on") as caught:
                scan(database, T_K, place, fresh=fresh)
            assert caught.value.path == place
        assert time.monotonic() - started < 5
        assert Run.open(place).status is RunStatus.SCANNING
        other.kill()
    assert Run.open(place).status is RunStatus.INTERRUPTED
    assert scan(database, T_K, place, fresh=True).status is RunStatus.FINISHED


@pytest.mark.parametrize("phase", [RunStatus.SCANNING, RunStatus.SWEEPING])
def test_a_horizon_too_old_begins_the_scan_anew(
    database: str, db: Connection, place: Path, moments: Moments, phase: RunStatus
) -> None:
    """Scenario: a run rested while more than 2^30 transactions passed.
    Outcome: the main pass is read again from its beginning, the reason is told and kept,
    and the counts are not doubled.
    """
    moments.at(RunStatus.SCANNING, 2, lambda: db.execute("INSERT INTO t VALUES (-1, 'k5')"))
    moments.stop_at(phase, 4 if phase is RunStatus.SCANNING else 1)
    scan(database, T_K, place, jobs=1, on_progress=moments)
    known = fact(place, "horizon")
    assert isinstance(known, dict)
    edit(place, horizon={name: known[name] - 2**30 - 1000 for name in ("xmin", "xmax")}
         | {"standby": False})
    read = moments.chunks[RunStatus.SCANNING]
    run = scan(database, T_K, place, jobs=1, on_progress=moments)
    assert moments.chunks[RunStatus.SCANNING] - read > 8
    assert any("begins anew" in message and "2^30" in message for message in moments.messages)
    assert any("begins anew" in message for _, message in run.events)
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert (run.keys[0].rows, run.keys[0].left_out) == (ROWS + 1, 0)


def test_sessions_of_a_killed_client_end_before_its_run_goes_on(
    database: str, db: Connection, place: Path, moments: Moments, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: a backend of the run's name sits in a transaction and does not notice that
    its client is gone; one of another run does, too.
    Outcome: the first is waited for and then ended, the second is left alone; both are told.
    """
    monkeypatch.setattr(owner, "_LEFTOVER_SECONDS", 1.0)
    moments.stop_at(RunStatus.SCANNING, 2)
    stopped = scan(database, T_K, place, jobs=1, on_progress=moments)
    with (
        psycopg.connect(database, application_name=f"pgmend {stopped.id}") as mine,
        psycopg.connect(database, application_name="pgmend 0123456789abcdef") as other,
    ):
        for connection in (mine, other):
            connection.execute("SELECT 1")
        run = scan(database, T_K, place, on_progress=moments)
        assert other.execute("SELECT 2").fetchone() == (2,)
        with pytest.raises(psycopg.OperationalError):
            mine.execute("SELECT 2")
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert any("waiting for 1 session" in message for message in moments.messages)
    assert any("ended 1 session" in message for message in moments.messages)


def test_a_leftover_that_ends_by_itself_is_only_waited_for(
    database: str, place: Path, moments: Moments
) -> None:
    moments.stop_at(RunStatus.SCANNING, 2)
    stopped = scan(database, T_K, place, jobs=1, on_progress=moments)
    leftover = psycopg.connect(database, application_name=f"pgmend {stopped.id}")
    timer = threading.Timer(0.5, leftover.close)
    timer.start()
    started = time.monotonic()
    run = scan(database, T_K, place, on_progress=moments)
    timer.join()
    assert time.monotonic() - started < 4
    assert run.status is RunStatus.FINISHED
    assert not any("ended" in message for message in moments.messages)


def test_every_stop_and_job_count_agrees(
    database: str, db: Connection, tmp_path: Path, moments: Moments
) -> None:
    """Scenario: stops after a few chunks, then 4 jobs, then 1, then 3, while rows come in.
    Outcome: the groups of the last snapshot; no group twice, none missed.
    """
    jobs = itertools.cycle([4, 1, 3])
    for number in range(3):
        db.execute(f"INSERT INTO t VALUES ({-100 - number}, 'k{600 + number}')")
        moments.chunks = dict.fromkeys(moments.chunks, 0)
        moments.stop_at(RunStatus.SCANNING, 4)
        scan(database, T_K, tmp_path / "r", jobs=next(jobs), on_progress=moments)
    run = scan(database, T_K, tmp_path / "r", jobs=2)
    assert run.status is RunStatus.FINISHED
    assert told_groups(run) == heap_groups(db, "t", "k")
    assert run.keys[0].groups == GROUPS + 3

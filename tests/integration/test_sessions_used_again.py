"""Sessions used again within ``reusing``: one backend after the other's user, never two at once."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from dedupe import MatchKey, Session, connect, scan
from dedupe.errors import QueryFailed, ServerUnavailable

from ..scanning import Connection, make_table

BACKENDS = (
    "SELECT pid, application_name FROM pg_stat_activity WHERE datname = current_database()"
    " AND backend_type = 'client backend' AND pid <> pg_backend_pid() ORDER BY backend_start"
)


def become(db: Connection, count: int) -> list[tuple[int, str]]:
    """Wait until so many backends are left, for one ends a little after its client; return them."""
    limit = time.monotonic() + 20
    while len(found := db.execute(BACKENDS).fetchall()) != count:
        assert time.monotonic() < limit, found
        time.sleep(0.01)
    return found


def shown(session: Session) -> tuple[int, str]:
    return (session.pid, *session.row("SELECT current_setting('application_name')"))


def test_a_closed_backend_serves_the_next_one_and_ends_with_the_block(
    database: str, db: Connection
) -> None:
    with connect(database).reusing() as kept:
        with kept.open("pgmend first") as one:
            first = shown(one)
        assert become(db, 1) == [(first[0], "pgmend")]
        with kept.open("pgmend second") as one, kept.open("pgmend third") as other:
            assert shown(one) == (first[0], "pgmend second")
            third = shown(other)
            assert third[0] != first[0]
        one.close()
        become(db, 2)
        with kept.reusing() as same:
            assert same is kept
        become(db, 2)
    become(db, 0)


def test_without_the_block_each_backend_ends_when_it_is_closed(
    database: str, db: Connection
) -> None:
    with connect(database).open():
        become(db, 1)
    become(db, 0)


def test_the_next_user_finds_what_a_new_session_would_find(database: str) -> None:
    with connect(database).reusing() as kept:
        with kept.open() as one, one.transaction(settings={"search_path": "public"}):
            one.set_local({"work_mem": "3MB"})
        with kept.open() as again:
            assert again.pid == one.pid
            assert again.row("SELECT current_setting('search_path'), "
                             "current_setting('work_mem') <> '3MB'") == ("", True)
            with pytest.raises(QueryFailed, match="read-only"):
                again.rows("CREATE TABLE written (id int)")


def test_what_is_in_a_transaction_is_not_kept(database: str) -> None:
    with connect(database).reusing() as kept:
        left = kept.open()
        left.rows("BEGIN")
        left.close()
        with kept.open() as other:
            assert other.pid != left.pid


def test_a_cancelled_session_is_not_kept(database: str) -> None:
    """Its cancel may arrive late, and would end a statement of the next user."""
    with connect(database).reusing() as kept:
        slow = kept.open()
        timer = threading.Timer(0.2, slow.cancel)
        timer.start()
        with pytest.raises(QueryFailed, match="canceling"):
            slow.rows("SELECT pg_sleep(30)")
        timer.join()
        slow.close()
        with kept.open() as other:
            assert other.pid != slow.pid
            closed = other
        # Closed and kept: who still holds the old one cancels nothing of the next user.
        with kept.open() as next_one:
            assert next_one.pid == closed.pid
            closed.cancel()
            assert next_one.row("SELECT 1 FROM pg_sleep(0.3)") == (1,)


def test_a_kept_backend_that_ended_is_replaced(database: str, db: Connection) -> None:
    with connect(database).reusing() as kept:
        with kept.open() as one:
            pass
        db.execute("SELECT pg_terminate_backend(%s, 5000)", [one.pid])
        with kept.open() as other:
            assert other.pid != one.pid
            db.execute("SELECT pg_terminate_backend(%s, 5000)", [other.pid])
            with pytest.raises(ServerUnavailable):
                other.rows("SELECT 1")
        with kept.open() as third:
            assert third.row("SELECT 1") == (1,)


def test_scans_of_one_block_share_their_backends(
    database: str, db: Connection, tmp_path: Path
) -> None:
    """Five tables cost no more backends than one that opens the most at a time."""
    for n in range(5):
        make_table(db, f"t{n}", 1000)
    seen: set[int] = set()
    with connect(database).reusing() as kept:
        for n in range(5):
            run = scan(
                kept, MatchKey.from_columns(f"t{n}", "k"), tmp_path / str(n),
                on_progress=lambda _: seen.update(
                    pid for pid, _ in db.execute(BACKENDS).fetchall()
                ),
            )
            assert run.keys[0].groups > 0
    assert len(seen) <= 5


def test_a_writer_is_used_again_by_writers_without_its_locks(
    database: str, db: Connection
) -> None:
    """Scenario: a writer made a temporary table and held a lock; a reader is asked for as well.
    Outcome: the next writer has its backend and its table, empty, and nobody holds the lock.
    """
    lock = "SELECT pg_try_advisory_lock(7)"
    with connect(database).reusing() as kept:
        with kept.open_writer("pgmend first") as one:
            one.rows("CREATE TEMPORARY TABLE mine (n int4) ON COMMIT DELETE ROWS")
            assert one.row(lock) == (True,)
            with one.writing():
                one.rows("INSERT INTO mine VALUES (1)")
        assert db.execute(lock).fetchall() == [(True,)]
        with kept.open("pgmend reader") as reader, kept.open_writer("pgmend next") as other:
            assert shown(other) == (one.pid, "pgmend next")
            assert reader.pid != one.pid
            assert other.row("SELECT count(*) FROM mine") == (0,)
            with pytest.raises(QueryFailed, match="read-only"):
                reader.rows("CREATE TABLE written (id int)")


def test_a_writer_that_was_cut_off_is_not_kept(database: str) -> None:
    """What raised may have left a setting of the session behind."""
    with connect(database).reusing() as kept:
        one = kept.open_writer("pgmend")
        one.rows("SELECT set_config('search_path', 'public', false)")
        with pytest.raises(QueryFailed), one:
            one.rows("SELECT nothing")
        with kept.open_writer("pgmend") as other:
            assert other.pid != one.pid
            assert other.row("SELECT current_setting('search_path')") == ("",)

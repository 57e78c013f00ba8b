"""What other tools lost because others wrote while they worked, or because they were cut off."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest

from dedupe import Plan, RepairProgress, repair
from dedupe.errors import DedupeError
from dedupe.lab.damage import Damage

from .shop import Shop


def test_duplicates_arrive_before_the_index_is_built(shop: Shop) -> None:
    """Scenario: while the repair deletes, others insert twins of rows that the index has lost.
    Outcome: they are repaired as well, and the index is built.
    """
    shop.make(
        "CREATE TABLE users (id int8 PRIMARY KEY, email text);"
        "CREATE UNIQUE INDEX users_email ON users (email);"
        "INSERT INTO users SELECT n, 'e' || n FROM generate_series(1, 500) n",
        "users_email",
        "INSERT INTO users SELECT 1000 + n, 'e' || n FROM generate_series(1, 5) n;"
        "INSERT INTO users SELECT 2000 + n, 'lost' || n FROM generate_series(1, 20) n",
        Damage.LOST_ENTRIES,
    )
    made = shop.planned("users_email")
    assert made.groups == 5
    arrived: list[int] = []
    phases = ["repairing", "looking again", "rebuilding", "rebuilding"]

    def arrive(event: RepairProgress) -> None:
        if event.phase not in phases:
            return
        phases.remove(event.phase)
        number = len(arrived) + 1
        with psycopg.connect(shop.dsn, autocommit=True) as other:
            other.execute("INSERT INTO users VALUES (%s, %s)", [3000 + number, f"lost{number}"])
        arrived.append(number)

    result = shop.repaired(made, on_progress=arrive)
    assert len(arrived) == 4, "a twin arrived at each step"
    assert result.rounds > 1
    assert result.repaired == 5 + 4
    assert shop.rows("SELECT count(*), count(DISTINCT email) FROM users") == [(520, 520)]
    assert shop.rows("SELECT id FROM users WHERE id > 3000") == []
    late = [f"{3000 + number}\tlost{number}".encode() for number in arrived]
    shop.before["users"] = sorted([*shop.before["users"], *late])
    shop.undone(made)


def waits_for(shop: Shop, what: str) -> int | None:
    """Find pgmend's backend that runs a statement like this one."""
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        row = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'pgmend%%' AND state = 'active' AND query ILIKE %s",
            [f"%{what}%"],
        ).fetchone()
    return row[0] if row else None


def test_the_index_is_there_after_a_timeout(shop: Shop) -> None:
    """Scenario: Mastodon dropped the index first, and a timeout ended it before the build. Here
    another transaction holds the rebuild up until an administrator cancels it.
    Outcome: an index of that name is there; the run goes on, once it can, to its end.
    """
    shop.make(
        "CREATE TABLE tags (id int8 PRIMARY KEY, name text);"
        "CREATE UNIQUE INDEX tags_name ON tags (name);"
        "INSERT INTO tags SELECT n, 't' || n FROM generate_series(1, 50) n",
        "tags_name",
        "INSERT INTO tags SELECT 100 + n, 't' || n FROM generate_series(1, 5) n",
    )
    made = shop.planned("tags_name")
    stop = threading.Event()
    ended: list[object] = []

    def work() -> None:
        try:
            ended.append(repair(made, db=shop.dsn, execute=True, stop=stop))
        except DedupeError as error:
            ended.append(error)

    with psycopg.connect(shop.dsn) as holder:
        holder.execute("INSERT INTO tags VALUES (900, 'held')")
        thread = threading.Thread(target=work)
        thread.start()
        until = time.monotonic() + 30
        cancelled = 0
        while thread.is_alive() and time.monotonic() < until:
            if (pid := waits_for(shop, "INDEX CONCURRENTLY")) is not None:
                shop.server.execute("SELECT pg_cancel_backend(%s)", [pid])
                cancelled += 1
                stop.set()
            time.sleep(0.2)
        assert cancelled, f"no rebuild began: {ended}"
        assert not thread.is_alive(), "the repair heeds neither cancel nor stop"
        assert isinstance(ended[0], DedupeError), ended
        indexes = shop.rows("SELECT relname FROM pg_class WHERE relname = 'tags_name'")
        assert indexes == ["tags_name"]
        holder.rollback()
    shop.repaired(Plan.open(shop.run))
    valid = shop.rows(
        "SELECT indexrelid::regclass::text, indisvalid, indisunique FROM pg_index"
        " WHERE indrelid = 'tags'::regclass ORDER BY 1"
    )
    assert valid == [("tags_name", True, True), ("tags_pkey", True, True)]
    shop.undone(made)


@pytest.mark.parametrize("on_delete", ["CASCADE", "SET NULL", "NO ACTION"])
def test_a_child_arrives_for_a_loser(shop: Shop, on_delete: str) -> None:
    """Scenario: a transaction inserts a child of a loser and commits while the repair is at it;
    others do so at every step.
    Outcome: no child is gone, emptied or left behind.
    """
    shop.make(
        "CREATE TABLE albums (id int8 PRIMARY KEY, title text);"
        "CREATE UNIQUE INDEX albums_title ON albums (title);"
        "INSERT INTO albums SELECT n, 'a' || n FROM generate_series(1, 300) n",
        "albums_title",
        "INSERT INTO albums SELECT 1000 + n, 'a' || n FROM generate_series(1, 200) n",
        then="CREATE TABLE tracks (id int8 PRIMARY KEY GENERATED ALWAYS AS IDENTITY,"
        f" title text, album int8 REFERENCES albums ON DELETE {on_delete});"
        "INSERT INTO tracks (title, album) SELECT 'a' || n, n FROM generate_series(1, 300) n",
    )
    made = shop.planned("albums_title")
    insert = "INSERT INTO tracks (title, album) VALUES (%s, %s)"
    arrived: list[int] = []

    def arrive(_: object) -> None:
        number = 200 - len(arrived) % 200
        with psycopg.connect(shop.dsn, autocommit=True) as other:
            other.execute("SET lock_timeout = '500ms'")
            try:
                other.execute(insert, [f"a{number}", 1000 + number])
            except (psycopg.errors.ForeignKeyViolation, psycopg.errors.LockNotAvailable):
                return
        arrived.append(number)

    with psycopg.connect(shop.dsn) as slow:
        slow.execute(insert, ["a1", 1001])
        committed = threading.Timer(1.0, slow.commit)
        committed.start()
        shop.repaired(made, on_progress=arrive)
        committed.join()
    print(f"{len(arrived)} children arrived at a step")
    tracks = shop.rows("SELECT title FROM tracks")
    assert len(tracks) == 300 + 1 + len(arrived)
    wrong = shop.rows(
        "SELECT t.* FROM tracks t LEFT JOIN albums a ON a.id = t.album"
        " WHERE a.title IS DISTINCT FROM t.title"
    )
    assert wrong == []
    assert shop.rows("SELECT count(*) FROM albums") == [300]

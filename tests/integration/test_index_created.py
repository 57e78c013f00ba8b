"""A key that no index keeps gets one, once its duplicates are gone."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from dedupe import MatchKey, Plan, plan, repair, scan, undo, verify
from dedupe.errors import NotReady, QueryFailed, ServerUnavailable
from dedupe.repair.endgame import Endgame

from ..promises.repaired import copies
from ..promises.shop import Shop

NAME = 'no "twins"'
TABLE = """
    CREATE TABLE t (id int8 PRIMARY KEY, "a b" text, n int4);
    INSERT INTO t VALUES (1, 'Ann', 1), (2, 'ANN', 1), (3, 'bob', 1), (4, NULL, 1), (5, NULL, 1),
        (6, 'Ann', -1), (7, 'bob', 2)
"""
KEYS: dict[str, tuple[MatchKey, str]] = {
    "expressions": (
        MatchKey.from_columns("t", 'lower("a b")', "n", where="n > 0"),
        ' USING btree (lower("a b"), n) WHERE (n > 0)',
    ),
    "nulls": (
        MatchKey.from_columns("t", "a b", "n", nulls_distinct=False),
        ' USING btree ("a b", n) NULLS NOT DISTINCT',
    ),
    "collation": (
        MatchKey.from_columns("t", '(lower("a b") COLLATE "C")', "n"),
        ' USING btree (lower("a b") COLLATE "C", n)',
    ),
}


def planned(shop: Shop, key: MatchKey, table: str = TABLE) -> Plan:
    shop.server.execute(table)
    shop.before = copies(shop.server)
    return plan(scan(shop.dsn, key, shop.run), keep="oldest", db=shop.dsn)


def indexes(shop: Shop) -> list[Any]:
    """Return name, definition, validity and uniqueness of all but the primary key."""
    return shop.rows(
        "SELECT c.relname::text, split_part(pg_get_indexdef(c.oid), ' ON public.t', 2),"
        " i.indisvalid, i.indisunique FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE i.indrelid = 't'::regclass AND NOT i.indisprimary ORDER BY 1"
    )


@pytest.mark.parametrize("form", KEYS)
@pytest.mark.parametrize("lock", [False, True])
def test_the_index_is_made_and_made_plain_by_an_undo(shop: Shop, form: str, lock: bool) -> None:
    """Outcome: the index means what the key means; verify is clean; undo brings all rows back."""
    key, definition = KEYS[form]
    if form == "nulls" and shop.server.info.server_version < 150000:
        pytest.skip("NULLs are never equal in an index of this server")
    made = planned(shop, key)
    result = repair(made, db=shop.dsn, execute=True, lock=lock, create_index=NAME)
    assert (result.status, result.left, result.index_rebuilt) == ("repaired", 0, (NAME,))
    assert result.advice == ()
    assert indexes(shop) == [(NAME, definition, True, True)]
    assert verify(made.run, db=shop.dsn).findings == ()
    again = repair(made, db=shop.dsn, execute=True, lock=lock, create_index=NAME)
    assert again.already_done
    undone = undo(made.run, db=shop.dsn, execute=True)
    assert undone.status == "undone"
    assert any("CREATE UNIQUE INDEX" in line for line in undone.statements)
    assert copies(shop.server) == shop.before
    assert indexes(shop) == [(NAME, definition, True, False)]


def test_it_can_be_made_after_the_repair(shop: Shop) -> None:
    """Scenario: the repair ended with its advice, then a duplicate arrived.
    Outcome: the same command with a name repairs that too, and makes the index.
    """
    made = planned(shop, KEYS["expressions"][0])
    (advice,) = repair(made, db=shop.dsn, execute=True).advice
    assert "CREATE UNIQUE INDEX CONCURRENTLY ON" in advice
    shop.server.execute("INSERT INTO t VALUES (9, 'BOB', 1)")
    result = repair(made, db=shop.dsn, execute=True, create_index=NAME)
    assert (result.status, result.index_rebuilt) == ("repaired", (NAME,))
    assert shop.rows("SELECT id FROM t ORDER BY 1") == [1, 3, 4, 5, 6, 7]


def test_a_duplicate_that_arrives_before_the_build(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcome: the failed build leaves nothing; the duplicate is repaired in another round."""
    made = planned(shop, KEYS["expressions"][0])
    late = [lambda: shop.server.execute("INSERT INTO t VALUES (9, 'BOB', 1)")]
    note = Endgame._note

    def noted(self: Endgame, writer: Any) -> None:
        note(self, writer)
        if late:
            late.pop()()

    monkeypatch.setattr(Endgame, "_note", noted)
    result = repair(made, db=shop.dsn, execute=True, create_index=NAME)
    assert (result.status, result.rounds, result.index_rebuilt) == ("repaired", 2, (NAME,))
    assert indexes(shop) == [(NAME, KEYS["expressions"][1], True, True)]
    undo(made.run, db=shop.dsn, execute=True)
    assert len(shop.rows("SELECT id FROM t")) == 8


def test_an_attempt_that_was_cut_off_is_dropped_first(shop: Shop) -> None:
    """Scenario: an admin ends the session that builds, while it waits for a transaction.
    Outcome: the error says so; an invalid index is left; the same call drops it and builds.
    """
    made = planned(shop, KEYS["expressions"][0])
    ended = threading.Event()

    def end() -> None:
        with psycopg.connect(shop.dsn, autocommit=True) as admin:
            while not ended.wait(0.05):
                if admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_create_index"
                    " WHERE phase LIKE 'waiting for%'"
                ).fetchall():
                    return

    with psycopg.connect(shop.dsn) as reader:
        reader.execute("LOCK TABLE t IN ROW EXCLUSIVE MODE")
        thread = threading.Thread(target=end)
        thread.start()
        try:
            with pytest.raises(ServerUnavailable, match=r'index public\.no "twins" could not be'):
                repair(made, db=shop.dsn, execute=True, create_index=NAME)
        finally:
            ended.set()
            thread.join()
    assert [row[2] for row in indexes(shop)] == [False]
    result = repair(made, db=shop.dsn, execute=True, create_index=NAME)
    assert result.index_rebuilt == (NAME,)
    assert indexes(shop) == [(NAME, KEYS["expressions"][1], True, True)]


TAKEN = 'CREATE INDEX "no ""twins""" ON t (n)'
ELSE = 'CREATE TABLE "no ""twins""" ()'
PARTS = """
    CREATE TABLE t (id int8, "a b" text, n int4) PARTITION BY LIST (n);
    CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
    INSERT INTO t VALUES (1, 'Ann', 1), (2, 'ANN', 1)
"""


@pytest.mark.parametrize(
    ("key", "table", "says"),
    [
        (KEYS["expressions"][0], f"{TABLE}; {TAKEN}", "already something called public.no"),
        (KEYS["expressions"][0], f"{TABLE}; {ELSE}", "already something called public.no"),
        (KEYS["expressions"][0], PARTS, "public.t is partitioned"),
        (MatchKey.from_index("t_n"), f"{TABLE}; CREATE UNIQUE INDEX t_n ON t (id)", "has an index"),
    ],
    ids=["index", "table", "partitioned", "has one"],
)
def test_what_is_in_the_way_is_said_before_the_first_write(
    shop: Shop, key: MatchKey, table: str, says: str
) -> None:
    shop.server.execute(table)
    run = scan(shop.dsn, key, shop.run)
    keep = "oldest" if table is not PARTS else "id"
    made = plan(run, keep=keep, db=shop.dsn)
    for execute in (False, True):
        with pytest.raises(NotReady, match=says):
            repair(made, db=shop.dsn, execute=execute, create_index=NAME)
    assert shop.rows("SELECT 1 FROM pg_namespace WHERE nspname = 'pgmend'") == []


def test_a_row_too_large_for_the_index_is_told(shop: Shop) -> None:
    """Outcome: rows are repaired; the error names the index; nothing invalid is left."""
    wide = "INSERT INTO t SELECT 8, string_agg(md5(n::text), ''), 1 FROM generate_series(1, 999) n"
    made = planned(shop, MatchKey.from_columns("t", "a b"), f"{TABLE}; {wide}")
    with pytest.raises(QueryFailed, match=r'index public\.no "twins" could not be'):
        repair(made, db=shop.dsn, execute=True, create_index=NAME)
    assert indexes(shop) == []
    shop.server.execute("DELETE FROM t WHERE id = 8")
    assert repair(made, db=shop.dsn, execute=True, create_index=NAME).index_rebuilt == (NAME,)

"""A group as large as the table: decided and repaired piece by piece."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import psycopg
import pytest

from dedupe import MatchKey, Plan, repair, scan
from dedupe.repair import loading, turns
from dedupe.repair.batch import Batches

from ..promises.shop import Shop

ROWS = 57
TABLES = """
    CREATE TABLE t (id int8 PRIMARY KEY, k text, n int4);
    INSERT INTO t VALUES (-1, 'other', 0), (0, 'k', 5);
    CREATE UNIQUE INDEX t_k ON t (k)
"""
TWINS = f"INSERT INTO t SELECT n, 'k', n * 7 % {ROWS} FROM generate_series(1, {ROWS - 1}) n"
CHILDREN = f"""
    CREATE TABLE c (id int8 PRIMARY KEY, t int8 NOT NULL REFERENCES t ON DELETE CASCADE, slot int4,
        UNIQUE (t, slot));
    INSERT INTO c SELECT n, n % {ROWS}, n % 10 FROM generate_series(1, 200) n
"""


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a group of more than ten rows be a large one, and repair five of its rows at a time."""
    for module in ("dedupe.survivor", "dedupe.plan"):
        monkeypatch.setattr(sys.modules[module], "LARGE_GROUP", 10)
    monkeypatch.setattr(sys.modules["dedupe.survivor"], "_BATCH", 1)
    monkeypatch.setattr(loading, "PIECE_ROWS", 5)
    monkeypatch.setattr(turns, "_FIRST_BATCH", 1)
    monkeypatch.setattr(turns, "_LARGEST_BATCH", 1)


def made(shop: Shop, **rules: Any) -> Plan:
    shop.make(TABLES, "t_k", TWINS, then=CHILDREN)
    return shop.planned("t_k", **rules)


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize(
    ("keep", "stays"), [("oldest", 0), ("newest", ROWS - 1), ("n desc", 8), ("n", 49)]
)
def test_the_best_row_of_all_pieces_stays(shop: Shop, keep: str, stays: int) -> None:
    """Outcome: as for a small group; a child row for each slot; undo brings all back."""
    planned = made(shop, keep=keep)
    (decision,) = planned.decisions()
    assert (decision.survivor.pk, len(decision.losers)) == ({"id": str(stays)}, ROWS - 1)
    others = [str(n) for n in range(ROWS) if n != stays]
    assert [loser.pk["id"] for loser in decision.losers if loser.pk] == others
    assert decision.losers[-1].pk == {"id": others[-1]}
    assert [one.pk for one in decision.losers[2:9:3]] == [{"id": n} for n in others[2:9:3]]
    result = shop.repaired(planned)
    assert (result.groups, result.repaired, result.rounds) == (1, 1, 1)
    assert shop.rows("SELECT count(*) FROM pgmend.batch") == [12]
    assert shop.rows("SELECT id FROM t ORDER BY 1") == [-1, stays]
    assert shop.rows("SELECT DISTINCT t FROM c") == [stays]
    assert sorted(shop.rows("SELECT slot FROM c")) == list(range(10))
    shop.undone(planned)


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize(
    "change", ["UPDATE t SET n = 99 WHERE id = 0", "DELETE FROM t WHERE id = 0"]
)
def test_the_row_that_stays_is_changed_between_two_pieces(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Outcome: nothing more goes until the group was decided anew; one row stays at the end."""
    planned = made(shop)
    if "DELETE" in change:
        shop.server.execute("DELETE FROM c WHERE t = 0")
    run, calls = Batches.run, [0]

    def changing(self: Batches, *arguments: Any) -> None:
        calls[0] += 1
        if calls[0] == 4:
            with psycopg.connect(shop.dsn, autocommit=True) as other:
                if "DELETE" in change:
                    other.execute("DELETE FROM c WHERE t = 0")
                other.execute(change.encode())
        run(self, *arguments)

    monkeypatch.setattr(Batches, "run", changing)
    result = repair(planned, db=shop.dsn, execute=True)
    assert (result.status, result.left, result.rounds) == ("repaired", 0, 2)
    assert shop.rows("SELECT count(*) FROM t WHERE k = 'k'") == [1]
    assert shop.rows("SELECT count(*) FROM c WHERE t NOT IN (SELECT id FROM t)") == [0]


def test_groups_that_reference_each_other_go_together(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: a chain and a ring of replies among rows that all have twins, which the unique
    index knows: no row with a twin can be updated.
    Outcome: the groups that hang together are repaired in one batch, in the first round.
    """
    monkeypatch.setattr(turns, "_FIRST_BATCH", 1)
    monkeypatch.setattr(turns, "_LARGEST_BATCH", 1)
    reply = (
        "CASE WHEN n % 100 IN (6, 8) THEN 107 WHEN n % 100 = 7 THEN 106"
        " WHEN n % 100 > 1 AND n <> 9 THEN n % 100 + 99 WHEN n = 9 THEN 101 END"
    )
    shop.make(
        "CREATE TABLE t (id int8 PRIMARY KEY, k text, reply int8);"
        f"INSERT INTO t SELECT n, 'k' || n, {reply} FROM generate_series(1, 9) n;"
        "CREATE UNIQUE INDEX t_k ON t (k); CREATE INDEX ON t (reply)",
        "t_k",
        f"INSERT INTO t SELECT n, 'k' || n - 100, {reply} FROM generate_series(101, 108) n",
        then="ALTER TABLE t ADD FOREIGN KEY (reply) REFERENCES t",
    )
    planned = shop.planned("t_k")
    result = shop.repaired(planned)
    assert (result.status, result.rounds, result.skipped) == ("repaired", 1, ())
    assert shop.rows("SELECT (id, reply)::text FROM t ORDER BY id") == [
        "(1,)", "(2,1)", "(3,2)", "(4,3)", "(5,4)", "(6,7)", "(7,6)", "(8,7)", "(9,1)",
    ]
    assert shop.rows("SELECT groups FROM pgmend.batch ORDER BY number") == [5, 3]
    shop.undone(planned)


MEMORY = """
import resource, sys
import dedupe
run = dedupe.Run.open(sys.argv[2])
made = dedupe.plan(run, keep="v desc", db=sys.argv[1])
next(made.decisions()).losers[0]
result = dedupe.repair(made, db=sys.argv[1], execute=True)
assert result.status == "repaired", result
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_a_large_group_needs_no_more_memory(shop: Shop) -> None:
    """Scenario: 120,000 rows are pairs, or one group; each is planned and repaired.
    Outcome: the client takes about as much for the one as for the other, and no batch is large.
    """
    peaks = {}
    for name, key in (("pairs", "n / 2"), ("one group", "0")):
        shop.server.execute(
            "DROP TABLE IF EXISTS t; CREATE TABLE t AS"
            f" SELECT n AS id, {key} AS k, n % 1000 AS v FROM generate_series(2, 120001) n;"
            " ALTER TABLE t ADD PRIMARY KEY (id)".encode()
        )
        place = shop.run.with_name(name)
        scan(shop.dsn, MatchKey.from_columns("t", "k"), place)
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, shop.dsn, str(place)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        peaks[name] = int(done.stdout) << 10
    assert shop.rows("SELECT count(*) FROM t") == [1]
    print({name: peak >> 20 for name, peak in peaks.items()})
    assert peaks["one group"] < peaks["pairs"] + (12 << 20)
    most = shop.rows("SELECT max(deleted) FROM pgmend.batch")[0]
    assert most < 60_000

"""Which row of a group stays, and what happens to those that do not but are not deleted."""

from __future__ import annotations

from typing import Any

import pytest

from dedupe import repair, undo
from dedupe.errors import PolicyError

from ..promises.shop import Shop
from ..repairing import unchanged

MAKE = (
    "CREATE TABLE t (id int8 PRIMARY KEY, k text, n int4, live bool, at date);"
    "CREATE UNIQUE INDEX t_k ON t (k);"
    "INSERT INTO t VALUES (2, 'a', NULL, false, '2020-01-02'), (5, 'b', 7, NULL, '2020-01-01')"
)
TWINS = (
    "INSERT INTO t VALUES (1, 'a', 1, NULL, NULL), (3, 'a', 3, true, '2020-01-01'),"
    " (4, 'b', 7, NULL, NULL), (6, 'b', 7, false, '2020-01-01')"
)
REFERENCES = (
    "CREATE TABLE c (id int8 PRIMARY KEY, p int8 REFERENCES t, q int8 REFERENCES t);"
    "INSERT INTO c VALUES (1, 3, 3), (2, 2, NULL), (3, 6, 4), (4, 4, 6), (5, NULL, NULL)"
)


@pytest.mark.parametrize(
    ("keep", "stay"),
    [
        ("oldest", [1, 4]),
        ("newest", [3, 6]),
        ("n", [1, 4]),
        ("n asc", [1, 4]),
        ("n desc", [3, 4]),
        ("at", [3, 5]),
        ("at DESC", [2, 5]),
        ("live", [2, 6]),
        ("live desc", [3, 6]),
        ("n IS NULL desc", [2, 4]),
        ("coalesce(n, 99) desc", [2, 4]),
        ("id % 3, n", None),
        (["live desc", "at"], [3, 6]),
        (["at", "newest"], [3, 6]),
        (["n desc", "at desc"], [3, 5]),
        (["most-referenced"], [3, 4]),
        (["most-referenced", "newest"], [3, 6]),
        ("case when live then 0 else 1 end", [3, 4]),
    ],
    ids=str,
)
def test_who_stays(shop: Shop, keep: str | list[str], stay: list[int] | None) -> None:
    """Outcome: the first by the orders given, NULLs last either way, ties by primary key."""
    shop.make(MAKE, "t_k", TWINS, then=REFERENCES)
    if stay is None:
        with pytest.raises(PolicyError):
            shop.planned("t_k", keep=keep)  # type: ignore[arg-type]
        return
    made = shop.planned("t_k", keep=keep)  # type: ignore[arg-type]
    kept = sorted(int((one.survivor.pk or {})["id"] or 0) for one in made.decisions())
    assert kept == stay
    assert all(len(one.losers) == 2 for one in made.decisions())


@pytest.mark.parametrize(
    "keep", ["", [], "  desc", "no_such", "n +", "n; DROP TABLE t", "n) FROM t --"]
)
def test_no_rule_or_a_wrong_one_is_refused(shop: Shop, keep: str | list[str]) -> None:
    """Outcome: nothing is decided by default; the error shows the choices."""
    shop.make(MAKE, "t_k", TWINS)
    with pytest.raises(PolicyError) as refused:
        shop.planned("t_k", keep=keep)  # type: ignore[arg-type]
    assert refused.value.hint
    if keep in ("", []):
        for word in ("oldest", "newest", "most-referenced"):
            assert word in refused.value.hint
    unchanged(shop)


def test_oldest_needs_a_primary_key(shop: Shop) -> None:
    shop.make(
        "CREATE TABLE t (k text, n int4); CREATE UNIQUE INDEX t_k ON t (k);"
        "INSERT INTO t VALUES ('a', 1)",
        "t_k",
        "INSERT INTO t VALUES ('a', 1), ('a', 2)",
    )
    with pytest.raises(PolicyError) as refused:
        shop.planned("t_k")
    assert "public.t has none" in refused.value.message
    made = shop.planned("t_k", keep="n")
    assert any("alike" in note for note in made.notes), "ties are told"
    shop.repaired(made)
    assert shop.rows("SELECT * FROM t") == [("a", 1)]
    shop.undone(made)


def test_groups_that_are_not_the_same_are_kept_apart(shop: Shop) -> None:
    """Scenario: rows may be merged only if they agree in n; NULL agrees with nothing.
    Outcome: the other groups are left as they are, and the result says so.
    """
    shop.make(MAKE, "t_k", TWINS, then=REFERENCES)
    made = shop.planned("t_k", same="a.n = b.n")
    assert (made.groups, made.kept_apart) == (1, 1)
    result = repair(made, db=shop.dsn, execute=True)
    assert (result.status, result.repaired, result.left) == ("left", 1, 1)
    assert shop.rows("SELECT id FROM t ORDER BY id") == [1, 2, 3, 4]
    again = repair(made, db=shop.dsn, execute=True)
    assert (again.status, again.left) == ("left", 1)
    shop.undone(made)


@pytest.mark.parametrize("same", ["a.n = c.n", "n = 1", "a.nothing = b.n", "true) OR (true"])
def test_a_predicate_that_cannot_be_asked_is_refused(shop: Shop, same: str) -> None:
    shop.make(MAKE, "t_k", TWINS)
    with pytest.raises(PolicyError):
        shop.planned("t_k", same=same)


def test_losers_get_names_that_are_free(shop: Shop) -> None:
    """Scenario: the key is lower(k); the first suffixes are taken, in another case, and by names
    that other losers could get.
    Outcome: every row has a name of its own under the key, all rows are there, children stay.
    """
    shop.make(
        "CREATE TABLE t (id int8 PRIMARY KEY, k text, up int8 REFERENCES t);"
        "CREATE UNIQUE INDEX t_k ON t (lower(k));"
        "INSERT INTO t VALUES (1, 'a'), (2, 'A_1'), (3, 'a_2'), (4, 'a_1_1'), (5, 'b'),"
        " (6, 'b_1')",
        "t_k",
        "INSERT INTO t VALUES (11, 'A', 1), (12, 'a', 11), (13, 'a_1', 12), (14, 'B', NULL)",
    )
    made = shop.planned("t_k", loser="rename:k")
    result = shop.repaired(made)
    assert result.deleted == {}
    assert shop.rows("SELECT count(DISTINCT lower(k)) FROM t") == [10]
    assert shop.rows("SELECT id, k FROM t WHERE id < 10 ORDER BY id") == [
        (1, "a"), (2, "A_1"), (3, "a_2"), (4, "a_1_1"), (5, "b"), (6, "b_1"),
    ]  # fmt: skip
    changed = shop.rows("SELECT k FROM t WHERE id > 10 ORDER BY id")
    for name, old in zip(changed, ["A", "a", "a_1", "B"], strict=True):
        assert name.startswith(f"{old}_")
    assert shop.rows("SELECT up FROM t WHERE id IN (11, 12, 13) ORDER BY id") == [1, 11, 12]
    shop.undone(made)


def test_losers_of_a_partial_key_get_free_names(shop: Shop) -> None:
    """Scenario: the key holds for rows that live; a dead row has the name that a loser gets."""
    shop.make(
        "CREATE TABLE t (id int8 PRIMARY KEY, k text, live bool);"
        "CREATE UNIQUE INDEX t_k ON t (k) WHERE live;"
        "INSERT INTO t VALUES (1, 'a', true), (2, 'a_1', false), (3, 'a', false), (4, 'b', true)",
        "t_k",
        "INSERT INTO t VALUES (11, 'a', true), (12, 'b', true), (13, 'a', true)",
    )
    made = shop.planned("t_k", loser="rename:k")
    shop.repaired(made)
    assert shop.rows("SELECT k FROM t WHERE id < 10 ORDER BY id") == ["a", "a_1", "a", "b"]
    assert shop.rows("SELECT count(*), count(DISTINCT k) FROM t WHERE live") == [(5, 5)]
    shop.undone(made)


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize(
    ("loser", "column"),
    [("rename:k", "k varchar(3)"), ("blank:v", "k text"), ("rename:k", "k text CHECK (k !~ '_')")],
)
def test_what_cannot_be_renamed_or_blanked_is_left(shop: Shop, loser: str, column: str) -> None:
    """Scenario: the new name does not fit, or the column must not be empty, for one group.
    Outcome: that group is left with the reason; nothing is cut; the others are repaired.
    """
    key = "(k)" if loser.startswith("rename") else "(k, v)"
    shop.make(
        f"CREATE TABLE t (id int8 PRIMARY KEY, {column}, v text,"
        " CHECK (v IS NOT NULL OR k <> 'abc'));"
        f"CREATE UNIQUE INDEX t_k ON t {key};"
        "INSERT INTO t VALUES (1, 'abc', 'v'), (2, 'b', 'v')",
        "t_k",
        "INSERT INTO t VALUES (11, 'abc', 'v'), (12, 'b', 'v')",
    )
    made = shop.planned("t_k", loser=loser)
    result = repair(made, db=shop.dsn, execute=True)
    left = 2 if "CHECK" in column else 1
    assert (result.status, result.left) == ("left", left)
    assert len(result.skipped) == left
    assert shop.rows("SELECT k, v FROM t WHERE id = 11") == [("abc", "v")]
    assert shop.rows("SELECT id FROM t ORDER BY id") == [1, 2, 11, 12]
    undone = undo(made.run, db=shop.dsn, execute=True)
    assert undone.refused == ()
    unchanged(shop)


@pytest.mark.parametrize(
    ("loser", "says"),
    [
        ("rename:n", "not a text"),
        ("rename:nothing", "nothing"),
        ("blank:k,nothing", "nothing"),
        ("rename", "rename"),
        ("rename:k,n", "rename:k,n"),
        ("blank", "blank"),
        ("burn", "burn"),
        ("delete:k", "delete:k"),
        ("blank:g", "generated"),
    ],
)
def test_a_fate_that_fits_nothing_is_refused(shop: Shop, loser: str, says: str) -> None:
    shop.make(
        f"{MAKE}; ALTER TABLE t ADD g int4 GENERATED ALWAYS AS (n + 1) STORED", "t_k", TWINS
    )
    with pytest.raises(PolicyError) as refused:
        shop.planned("t_k", loser=loser)
    assert says in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    ("key", "how"),
    [
        ("t_k", {"loser": "rename:k"}),
        ("t_k", {"loser": "blank:k"}),
        ("t_k", {"loser": "delete", "merge": {"k": "max"}}),
        ("t_v", {"loser": "delete", "accept_loss": ["c.k"]}),
    ],
)
@pytest.mark.parametrize("follows", ["CASCADE", "SET NULL", "SET DEFAULT"])
def test_a_change_that_a_foreign_key_would_carry_on_is_refused(
    shop: Shop, key: str, how: dict[str, Any], follows: str
) -> None:
    """Scenario: a foreign key goes by the column that is changed in place, and follows updates.
    Outcome: refused with its name, for rows of the child would change without a journal; where
    it does not follow, the plan is made.
    """
    shop.make(
        "CREATE TABLE t (id int8 PRIMARY KEY, k text, v text);"
        "CREATE UNIQUE INDEX t_k ON t (k); CREATE UNIQUE INDEX t_v ON t (v);"
        "CREATE TABLE c (id int8 PRIMARY KEY, k text UNIQUE,"
        f" CONSTRAINT c_goes_by FOREIGN KEY (k) REFERENCES t (k) ON UPDATE {follows}"
        " ON DELETE SET NULL);"
        "CREATE TABLE g (id int8 PRIMARY KEY, k text,"
        f" CONSTRAINT c_goes_by FOREIGN KEY (k) REFERENCES c (k) ON UPDATE {follows});"
        "INSERT INTO t VALUES (1, 'a', 'x'), (2, 'b', 'y'); INSERT INTO c VALUES (1, 'a');"
        "INSERT INTO g VALUES (1, 'a')",
        key,
        "INSERT INTO t VALUES (11, 'a', 'z')"
        if key == "t_k"
        else "INSERT INTO t VALUES (11, 'c', 'x')",
    )
    with pytest.raises(PolicyError, match="c_goes_by") as refused:
        shop.planned(key, **how)
    if "accept_loss" not in how:
        assert f"ON UPDATE {follows}" in refused.value.message
        assert "without a journal" in refused.value.message
    shop.server.execute(
        "ALTER TABLE c DROP CONSTRAINT c_goes_by, ADD CONSTRAINT c_goes_by FOREIGN KEY (k)"
        " REFERENCES t (k) ON DELETE SET NULL NOT VALID"
    )
    if "accept_loss" in how:
        with pytest.raises(PolicyError, match="it would become NULL"):
            shop.planned(key, **how)
        shop.server.execute("ALTER TABLE g DROP CONSTRAINT c_goes_by")
    assert shop.planned(key, **how).groups == 1


def test_losers_that_are_only_reported(shop: Shop) -> None:
    shop.make(MAKE, "t_k", TWINS, then=REFERENCES)
    made = shop.planned("t_k", loser="report")
    assert (made.groups, made.kept_apart) == (0, 2)
    assert any("reported" in note for note in made.notes)
    result = repair(made, db=shop.dsn, execute=True)
    assert (result.status, result.left) == ("left", 2)
    unchanged(shop)


def test_groups_are_repaired_in_the_order_of_the_rows_that_stay(shop: Shop) -> None:
    """Outcome: neighbours share a batch, whatever the digests of their keys."""
    shop.make(
        "CREATE TABLE t (id int8 PRIMARY KEY, k text); CREATE UNIQUE INDEX u ON t (k);"
        "INSERT INTO t SELECT n, 'k' || n FROM generate_series(1, 900) n",
        "u",
        "INSERT INTO t SELECT 1000 + n, 'k' || n FROM generate_series(1, 900) n",
    )
    made = shop.planned("u")
    shop.repaired(made)
    batches = shop.server.execute(
        "SELECT min(replace(before[2], 'k', '')::int), max(replace(before[2], 'k', '')::int)"
        " FROM pgmend.entry GROUP BY batch ORDER BY batch"
    ).fetchall()
    assert len(batches) > 1
    assert [*sum(batches, ())] == sorted(sum(batches, ()))

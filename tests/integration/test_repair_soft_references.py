"""References that the catalog does not know: values, pairs of type and id, texts, arrays, jsonb."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from dedupe import SoftReference, verify
from dedupe.errors import DedupeError, PolicyError
from dedupe.session import Session

from ..promises.shop import Shop
from ..repairing import unchanged

MAKE = (
    "CREATE TABLE people (id int8 PRIMARY KEY, code text UNIQUE, mail text);"
    "CREATE UNIQUE INDEX people_mail ON people (mail);"
    "INSERT INTO people VALUES (1, 'c1', 'a'), (2, 'c2', 'b'), (123456, 'c3', 'd')"
)
TWINS = "INSERT INTO people VALUES (11, 'c11', 'a'), (21, 'c21', 'b'), (7, 'c7', 'd')"


def soft(table: str, column: str, kind: str = "value", **more: object) -> SoftReference:
    facts = {"parent": "public.people", "parent_column": "id", **more}
    return SoftReference(table=table, column=column, kind=kind, **facts)  # type: ignore[arg-type]


def people(shop: Shop, then: str) -> None:
    shop.make(MAKE, "people_mail", TWINS, then=then)


def test_values_of_every_kind(shop: Shop) -> None:
    """Scenario: ids stand in columns of another size, of text, of char(n), and as codes; some
    name nobody, some are no ids at all.
    Outcome: those of losers become the survivor's; the others stay to the byte.
    """
    people(
        shop,
        "CREATE TABLE log (n int8 PRIMARY KEY, small int4, num numeric, word text,"
        " vc varchar(10), ch char(6), code text);"
        "INSERT INTO log VALUES (1, 11, 11, '11', '11', '11', 'c11'), (2, 1, 1.0, '1', '1', '1',"
        " 'c1'), (3, 99, 99, 'eleven', '011', '99', 'c99'), (4, 21, 21.0, '21 ', '21', '21', ''),"
        " (5, NULL, NULL, NULL, NULL, NULL, NULL)",
    )
    made = shop.planned(
        "people_mail",
        soft=[
            *(soft("log", name) for name in ("small", "num", "word", "vc", "ch")),
            soft("log", "code", parent_column="code"),
        ],
    )
    shop.repaired(made)
    assert shop.rows("SELECT small, num::text, word, vc, ch::text, code FROM log ORDER BY n") == [
        (1, "1", "1", "1", "1", "c1"),
        (1, "1.0", "1", "1", "1", "c1"),
        (99, "99", "eleven", "011", "99", "c99"),
        (2, "2", "21 ", "2", "2", ""),
        (None, None, None, None, None, None),
    ]
    shop.undone(made)


@pytest.mark.usefixtures("few_rounds")
@pytest.mark.parametrize("kind", ["varchar(3)", "char(3)", "int2", "numeric(4, 2)"])
def test_an_id_that_does_not_fit_is_never_cut(shop: Shop, kind: str) -> None:
    """Scenario: the survivor's id, 123456, does not fit into a column that holds the loser's.
    Outcome: that group is left, with the reason, and the column holds what it held.
    """
    people(
        shop,
        f"CREATE TABLE log (n int8 PRIMARY KEY, id {kind}); INSERT INTO log VALUES (1, '7'),"
        " (2, '21')",
    )
    made = shop.planned("people_mail", keep="id desc", soft=[soft("log", "id")])
    from dedupe import repair, undo

    result = repair(made, db=shop.dsn, execute=True)
    assert (result.status, result.left) == ("left", 1), result
    assert result.skipped
    assert shop.rows("SELECT trim(id::text)::numeric::int FROM log ORDER BY n") == [7, 21]
    assert shop.rows("SELECT id FROM people ORDER BY id") == [7, 11, 21, 123456]
    undo(made.run, db=shop.dsn, execute=True)
    unchanged(shop)


def test_pairs_of_type_and_id(shop: Shop) -> None:
    """Scenario: a polymorphic pair with its own unique key; the same id under another type.
    Outcome: only the rows of this type are moved, what collides goes, and undo brings back all.
    """
    people(
        shop,
        "CREATE TABLE notes (n int8 PRIMARY KEY, kind varchar(20), ref int8, word text,"
        " UNIQUE (kind, ref, word));"
        "INSERT INTO notes VALUES (1, 'Person', 11, 'x'), (2, 'Person', 1, 'x'),"
        " (3, 'Place', 11, 'x'), (4, 'Person', 11, 'y'),"
        " (5, NULL, 11, 'z'), (6, 'Pers''on', 11, '')",
    )
    made = shop.planned(
        "people_mail",
        soft=[
            soft("notes", "ref", type_column="kind", type_value="Person"),
            soft("notes", "ref", type_column="kind", type_value="Pers'on"),
        ],
    )
    shop.repaired(made)
    assert shop.rows("SELECT n, ref FROM notes ORDER BY n") == [
        (2, 1), (3, 11), (4, 1), (5, 11), (6, 1),
    ]  # fmt: skip
    shop.undone(made)


def test_arrays_of_ids(shop: Shop) -> None:
    """Scenario: ids stand in arrays of another size and of texts, with NULLs, twice, and with
    other bounds; what the array held twice before is not the repair's affair.
    """
    people(
        shop,
        "CREATE TABLE sets (n int8 PRIMARY KEY, i int4[], t text[]);"
        "INSERT INTO sets VALUES (1, '{11,2}', '{11,2}'), (2, '{1,11}', '{1,11}'),"
        " (3, '{9,9,11,NULL}', '{x,x,11,NULL}'), (4, '{}', '{}'), (5, NULL, NULL),"
        " (6, '[0:1]={21,1}', '[5:6]={21,1}'), (7, '[0:1]={8,8}', '{8}')",
    )
    arrays = [soft("sets", name, "array") for name in ("i", "t")]
    made = shop.planned("people_mail", soft=arrays)
    shop.repaired(made)
    assert shop.rows("SELECT i::text, t::text FROM sets ORDER BY n") == [
        ("{1,2}", "{1,2}"),
        ("{1}", "{1}"),
        ("{9,9,1,NULL}", "{x,x,1,NULL}"),
        ("{}", "{}"),
        (None, None),
        ("{2,1}", "{2,1}"),
        ("[0:1]={8,8}", "{8}"),
    ]
    shop.undone(made)


def test_ids_in_jsonb(shop: Shop) -> None:
    """Scenario: ids stand inside jsonb as numbers and as strings, deep and shallow, or not.
    Outcome: each keeps its kind, and everything beside it stays.
    """
    people(
        shop,
        "CREATE TABLE docs (n int8 PRIMARY KEY, d jsonb);"
        """INSERT INTO docs VALUES (1, '{"by": {"id": 11, "x": 1.50}, "id": 11}'),"""
        """ (2, '{"by": {"id": "11"}}'), (3, '{"by": {"id": [11]}}'), (4, '{"by": 11}'),"""
        """ (5, '[]'), (6, NULL), (7, '{"by": {"id": 21.0}}'), (8, '{"by": {"id": null}}')""",
    )
    made = shop.planned("people_mail", soft=[soft("docs", "d", "jsonb", path=("by", "id"))])
    shop.repaired(made)
    found = [json.loads(d) if d else d for d in shop.rows("SELECT d::text FROM docs ORDER BY n")]
    assert found[0] == {"by": {"id": 1, "x": 1.5}, "id": 11}
    assert found[1:6] == [{"by": {"id": "1"}}, {"by": {"id": [11]}}, {"by": 11}, [], None]
    assert found[7] == {"by": {"id": None}}
    shop.undone(made)


def test_two_paths_of_one_document(shop: Shop) -> None:
    """Scenario: one jsonb column holds two ids, and one row has a loser in both.
    Outcome: both are moved.
    """
    people(
        shop,
        "CREATE TABLE docs (n int8 PRIMARY KEY, d jsonb);"
        """INSERT INTO docs VALUES (1, '{"a": 11, "b": 21}'), (2, '{"a": 11}'),"""
        """ (3, '{"b": "11"}')""",
    )
    paths = [soft("docs", "d", "jsonb", path=(name,)) for name in ("a", "b")]
    made = shop.planned("people_mail", soft=paths)
    shop.repaired(made)
    found = [json.loads(d) for d in shop.rows("SELECT d::text FROM docs ORDER BY n")]
    assert found == [{"a": 1, "b": 2}, {"a": 1}, {"b": "1"}]
    shop.undone(made)


@pytest.mark.parametrize(
    "reference",
    [
        soft("nowhere", "id"),
        soft("log", "nothing"),
        soft("log", "id", parent="public.nowhere"),
        soft("log", "id", parent_column="nothing"),
        soft("log", "id", "array"),
        soft("log", "id", "jsonb", path=("a",)),
        soft("log", "doc", "jsonb"),
        soft("log", "id", "set"),
        soft("log", "id", type_column="nothing", type_value="x"),
        soft("log", "day"),
        soft("days", "day", "array"),
    ],
    ids=lambda one: f"{one.table}.{one.column} {one.kind} {one.parent} {one.parent_column}",
)
def test_a_declaration_that_fits_nothing_is_refused(shop: Shop, reference: SoftReference) -> None:
    """Outcome: the error names what does not fit, before anything was written."""
    people(
        shop,
        "CREATE TABLE log (id int8, doc jsonb, day date); CREATE TABLE days (day date[])",
    )
    with pytest.raises(DedupeError) as refused:
        shop.planned("people_mail", soft=[reference])
    assert type(refused.value).__name__ in {"PolicyError", "UnknownObject"}, refused.value
    if isinstance(refused.value, PolicyError):
        assert reference.table in refused.value.message


def test_no_row_of_a_child_is_held_against_each_row_that_went(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario: verify looks for rows that point at what went, by a reference with a type and by
    elements of arrays; the planner expects a handful of rows.
    Outcome: it joins by hash: else its time is that of all pairs.
    """
    people(
        shop,
        "CREATE TABLE log (id int8, kind text, ids int8[], up int8 REFERENCES people);"
        "INSERT INTO log VALUES (11, 'Person', '{11}', 1); ANALYZE log",
    )
    made = shop.planned(
        "people_mail",
        soft=[
            soft("log", "id", type_column="kind", type_value="Person"),
            soft("log", "ids", kind="array"),
        ],
    )
    shop.repaired(made)
    plans: list[str] = []
    row = Session.row

    def explained(
        self: Session, query: str, params: Sequence[object] = ()
    ) -> tuple[Any, ...]:
        if query.startswith(("WITH d AS", "SELECT count(*) FROM ONLY")):
            plans.append("\n".join(one for (one,) in self.rows(f"EXPLAIN {query}", params)))
        return row(self, query, params)

    monkeypatch.setattr(Session, "row", explained)
    assert verify(made.run, db=shop.dsn).findings == ()
    assert len(plans) == 3
    assert [plan for plan in plans if "Nested Loop" in plan or "Hash" not in plan] == []


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("merge", [{}, {"v": "first"}])
def test_losers_of_one_value_have_one_row_that_points_at_them(
    shop: Shop, alone: bool, merge: dict[str, str]
) -> None:
    """Scenario: a reference goes by a column that is not unique, and two losers share its value."""
    shop.make(
        "CREATE TABLE t (id int8 PRIMARY KEY, k text, code int4, v int4);"
        "CREATE UNIQUE INDEX t_k ON t (k);"
        "INSERT INTO t VALUES (1, 'a', 5, NULL), (2, 'b', 9, 2)",
        "t_k",
        "INSERT INTO t VALUES (3, 'a', 7, 1), (4, 'a', 7, NULL)",
        then="CREATE TABLE c (id int8 PRIMARY KEY, code int8);"
        "INSERT INTO c VALUES (1, 7), (2, 9), (3, 5)",
    )
    code = SoftReference(table="c", column="code", parent="t", parent_column="code")
    made = shop.planned("t_k", soft=[code], merge=merge)
    result = shop.repaired(made, alone=alone)
    assert result.changed == {"public.c": 1, **({"public.t": 1} if merge else {})}
    assert shop.rows("SELECT code FROM c ORDER BY id") == [5, 9, 5]
    shop.undone(made)

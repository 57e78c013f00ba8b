"""The SQL that a resolved key writes, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from dedupe.key import KeyColumn, ResolvedKey
from dedupe.key.digest import OPERAND, SEED


def column(expression: str = "a", **facts: Any) -> KeyColumn:
    known: dict[str, Any] = {
        "type": "text",
        "equality": "OPERATOR(pg_catalog.=)",
        "collation": 'pg_catalog."C"',
        "cast": None,
        "row_type": False,
        "hash": f"h({OPERAND}, {SEED})",
        "strict": True,
        "exact": None,
    }
    return KeyColumn(expression=expression, **{**known, **facts})


def key(
    *columns: KeyColumn,
    nulls_distinct: bool = True,
    where: str | None = None,
    index_oid: int | None = 1,
) -> ResolvedKey:
    return ResolvedKey(
        name="k",
        table_oid=1,
        columns=columns,
        where=where,
        nulls_distinct=nulls_distinct,
        search_path="",
        definition="",
        index_oid=index_oid,
        bytes_hash=f"b({OPERAND}, {SEED})",
    )


def test_columns_are_chained_by_their_seeds() -> None:
    """Two columns: the first one's hash is the second one's seed."""
    assert key(column(), column("b")).digest(["x", "y"]) == "pg_catalog.int8send(h(y, h(x, 0)))"


def test_operands_are_kept_together() -> None:
    """An operand that is an expression is put in parentheses, a name is not."""
    written = key(column()).digest(["a || b"])
    assert written == "pg_catalog.int8send(h((a || b), 0))"


def test_a_value_of_eight_bytes_is_its_own_digest_only_alone() -> None:
    """Alone: its bits. Beside another column, or with NULLs equal: a hash."""
    exact = column(exact=f"send({OPERAND})")
    assert key(exact).digest(["x"]) == "send(x)"
    assert not key(exact).scattered
    assert key(exact, column()).scattered
    assert key(exact, nulls_distinct=False).scattered
    assert "send(x)" not in key(exact, nulls_distinct=False).digest(["x"]).replace("int8send", "")


def test_a_hash_that_ignores_null_is_guarded() -> None:
    """A template that gives a value for NULL is asked only where there is a value."""
    written = key(column(strict=False)).digest(["x"])
    assert written == "pg_catalog.int8send(CASE WHEN x IS NOT NULL THEN h(x, 0) END)"
    written = key(column(strict=False, row_type=True)).digest(["x"])
    assert "CASE WHEN pg_catalog.num_nulls(x) OPERATOR(pg_catalog.=) 0 THEN" in written


def test_the_digest_of_many_equal_nulls_stays_short() -> None:
    """32 columns with NULLs equal: the text grows with the columns, not by doubling."""
    wide = key(*[column()] * 32, nulls_distinct=False)
    assert len(wide.digest([f"k{n}" for n in range(32)])) < 8_000


def test_equality_is_the_columns_own() -> None:
    """Operator, cast and collation are written; NULLs are equal where they count as equal."""
    one = key(column(cast="pg_catalog.text"))
    assert one.equal(["a.x"], ["b.x"]) == (
        '((((a.x::pg_catalog.text COLLATE pg_catalog."C") OPERATOR(pg_catalog.=)'
        ' (b.x::pg_catalog.text COLLATE pg_catalog."C"))) IS TRUE)'
    )
    both = key(column(collation=None), nulls_distinct=False)
    assert both.equal(["x"], ["y"]) == (
        "(((coalesce((x) OPERATOR(pg_catalog.=) (y), (x IS NULL AND y IS NULL)))) IS TRUE)"
    )


def test_who_takes_part() -> None:
    """NULLs keep a row out where they are distinct; a predicate must be true."""
    assert key(column(), column("b")).takes_part(["x", "y"], "p") == (
        "(x IS NOT NULL AND y IS NOT NULL AND p IS TRUE)"
    )
    assert key(column(), nulls_distinct=False).takes_part(["x"]) == "true"
    assert key(column(), nulls_distinct=False).takes_part(["x"], "a > 1") == "((a > 1) IS TRUE)"
    row = key(column(row_type=True))
    assert row.takes_part(["x"]) == "(pg_catalog.num_nulls(x) OPERATOR(pg_catalog.=) 0)"


@pytest.mark.parametrize(
    ("expressions", "where"),
    [
        (['"uri"'], "(uri IS NOT NULL)"),
        (['"uri"'], "((uri IS NOT NULL))"),
        (['"a b"', '"c"'], '(("a b" IS NOT NULL))'),
        (['"a b"', '"c"'], '(((c IS NOT NULL) AND ("a b" IS NOT NULL)))'),
        (["(lower(uri))"], "((lower(uri) IS NOT NULL))"),
    ],
)
def test_a_predicate_that_only_leaves_out_nulls_is_no_condition(
    expressions: list[str], where: str
) -> None:
    columns = [column(expression) for expression in expressions]
    assert key(*columns, where=where).condition is None
    # Where NULLs are equal they take part, so the predicate says something.
    assert key(*columns, where=where, nulls_distinct=False).condition == where
    # What a user wrote may mean something else by an unquoted name.
    assert key(*columns, where=where, index_oid=None).condition == where
    # A row of NULLs is not NULL itself.
    rows = [column(expression, row_type=True) for expression in expressions]
    assert key(*rows, where=where).condition == where


@pytest.mark.parametrize(
    ("expressions", "where"),
    [
        (['"uri"'], "((uri IS NULL))"),
        (['"uri"'], "((id IS NOT NULL))"),
        (['"uri"'], "((uri IS NOT NULL) AND (id IS NOT NULL))"),
        (['"uri"'], "((uri IS NOT NULL) OR (uri IS NOT NULL))"),
        (['"Uri"'], "((uri IS NOT NULL))"),
        (['"a IS NULL) OR (b"'], "(((a IS NULL) OR (b IS NOT NULL)))"),
        (['"a IS NOT NULL) AND (b"'], '((("a" IS NOT NULL) AND (b IS NOT NULL)))'),
    ],
)
def test_any_other_predicate_is_a_condition(expressions: list[str], where: str) -> None:
    columns = [column(expression) for expression in expressions]
    assert key(*columns, where=where).condition == where


def test_a_hostile_operand_cannot_be_taken_for_a_hole() -> None:
    """Names that look like the templates' own marks stay names."""
    written = key(column(), column("b")).digest(['"{operand}"', '"seed"'])
    assert written == 'pg_catalog.int8send(h(("seed"), h(("{operand}"), 0)))'

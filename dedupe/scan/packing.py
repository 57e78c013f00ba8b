"""Packing: how the records of a chunk's rows become one ``bytea`` on the server."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..key import ResolvedKey

_COLUMN = re.compile(r'"(?:[^"]|"")+"')


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSql:
    """What the rows of a range are called in the statement, for one key."""

    digest: str
    tid: str
    #: the same as it is sent
    sent: str
    #: whether a row takes part
    takes_part: str
    #: FILTER clause of the key's predicate, or empty
    only: str
    #: FILTER clause that leaves out rows before anything is computed for them, or empty
    early: str
    #: whether a row of the heap takes part, where nothing has another name yet
    test: str


#: Writes how the records of rows become two values: the first address, if the records begin
#: with a digest, and all that follows.
Packing = Callable[[RowSql], tuple[str, str]]


def is_column(expression: str) -> bool:
    """Tell whether a key's expression is a plain column."""
    return _COLUMN.fullmatch(expression) is not None


def in_any_order(row: RowSql) -> tuple[str, str]:
    """Pack records of rows in any order: address and digest are joined for each row."""
    return "NULL::bytea", (
        f"pg_catalog.string_agg({row.sent} OPERATOR(pg_catalog.||)"
        f" {row.digest}, ''::bytea){row.only}"
    )


def in_heap_order(rows: str, *, few: bool, most: int | None) -> Packing:
    """Pack records of rows in the order of their addresses; ``rows`` is the FROM clause.

    Where there are more rows than ``most``, nothing is packed.

    The address is the separator before its digest, which saves joining the two. The
    first separator is left out by the server. It is the address of the first row that
    takes part, which is soon found by looking again, unless ``few`` do or a predicate
    leaves many out: then the least of them is kept while they are read.
    """

    def packing(row: RowSql) -> tuple[str, str]:
        joined = f"pg_catalog.string_agg({row.digest}, {row.sent}){row.early}"
        if few or row.only:
            first = f"pg_catalog.min({row.tid}) FILTER (WHERE {row.takes_part})"
        else:
            first = f"(SELECT ctid FROM {rows} AND {row.test} LIMIT 1)"
        fits = "" if most is None else f"pg_catalog.count(*) OPERATOR(pg_catalog.<=) {most} AND "
        there = f"CASE WHEN {fits}{joined} IS NOT NULL THEN"
        return f"{there} pg_catalog.tidsend({first}) END", f"{there} {joined} END"

    return packing


def answer(
    key: ResolvedKey,
    operands: Sequence[str],
    part: str | None,
    address: tuple[str, str],
    test: str,
    packing: Packing,
    *,
    sparse: bool,
) -> str:
    """Write, for one key, how many rows take part and their records in two values.

    These are the first address, where the records begin with a digest, and one ``bytea``.
    ``address`` is what a row's address is called, and what it is called as it is sent.

    ``sparse``: many rows do not take part, so that it pays to look at that first.
    Of a plain column the number of records says as much as a count would: NULL.
    """
    takes_part = key.takes_part(operands, part)
    only = f" FILTER (WHERE {part})" if part else ""
    if key.nulls_distinct and len(operands) == 1 and not part:
        plain = is_column(key.columns[0].expression)
        counted = "NULL::pg_catalog.int8" if plain else f"pg_catalog.count({operands[0]})"
    else:
        counted = f"pg_catalog.count(*) FILTER (WHERE {takes_part})"
    tid, sent = address
    row = RowSql(
        digest=key.digest(operands),
        tid=tid,
        sent=sent,
        takes_part=takes_part,
        only=only,
        early=f" FILTER (WHERE {takes_part})" if sparse else only,
        test=test,
    )
    head, packed = packing(row)
    return f"{counted}, {head}, coalesce({packed}, ''::bytea)"

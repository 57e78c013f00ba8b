"""Packing: how the records of a chunk's rows become one ``bytea`` on the server."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ..key import ResolvedKey

#: keys that pay for being asked for in another way
_FEWEST_TO_SHARE = 2
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
    #: FROM clause of the rows in the heap
    rows: str
    #: where there are more rows than this, nothing is packed
    most: int | None


#: Writes how the records of rows become two values: the first address, if the records begin
#: with a digest, and all that follows.
Packing = Callable[[RowSql], tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which keys the answers of a statement are of, by their places among the run's keys."""

    #: each has an answer of its own, with addresses
    apart: tuple[int, ...]
    #: one or two keys to an answer: digests alone, of every row, in the order of the first of
    #: ``apart``, in which every row must take part as well
    sharing: tuple[tuple[int, ...], ...] = ()

    @classmethod
    def shared(
        cls, keys: Sequence[ResolvedKey], places: Sequence[int], whole: AbstractSet[int]
    ) -> Layout:
        """Let keys of ``whole`` share the addresses of the one of them that is read most cheaply.

        ``places`` are the keys that are asked for. A key with a predicate shares nothing.
        """
        able = [place for place in places if place in whole and keys[place].condition is None]
        if len(able) < _FEWEST_TO_SHARE:
            return cls(apart=tuple(places))
        leader = min(able, key=lambda place: (not is_plain(keys[place]), len(keys[place].columns)))
        able.remove(leader)
        apart = [place for place in places if place != leader and place not in able]
        pairs = [tuple(able[start : start + 2]) for start in range(0, len(able), 2)]
        return cls(apart=(leader, *apart), sharing=tuple(pairs))


def is_plain(key: ResolvedKey) -> bool:
    """Tell whether a key consists of plain columns."""
    return all(is_column(column.expression) for column in key.columns)


def is_column(expression: str) -> bool:
    """Tell whether a key's expression is a plain column."""
    return _COLUMN.fullmatch(expression) is not None


def in_any_order(row: RowSql) -> tuple[str, str]:
    """Pack records of rows in any order: address and digest are joined for each row."""
    return "NULL::bytea", (
        f"pg_catalog.string_agg({row.sent} OPERATOR(pg_catalog.||)"
        f" {row.digest}, ''::bytea){row.only}"
    )


def in_heap_order(row: RowSql) -> tuple[str, str]:
    """Pack records of rows in the order of their addresses.

    The address is the separator before its digest, which saves joining the two. The
    first separator is left out by the server. It is the address of the first row that
    takes part, which is soon found by looking again, unless a predicate leaves many out.
    """
    if row.only:
        return few_in_heap_order(row)
    return _in_heap_order(row, f"(SELECT ctid FROM {row.rows} AND {row.test} LIMIT 1)")


def few_in_heap_order(row: RowSql) -> tuple[str, str]:
    """Pack records as ``in_heap_order`` does where few rows have one.

    The first address is then the least of them, kept while they are read.
    """
    return _in_heap_order(row, f"pg_catalog.min({row.tid}) FILTER (WHERE {row.takes_part})")


def _in_heap_order(row: RowSql, first: str) -> tuple[str, str]:
    joined = f"pg_catalog.string_agg({row.digest}, {row.sent}){row.early}"
    there = f"CASE WHEN {_fits(row.most)} AND {joined} IS NOT NULL THEN"
    return f"{there} pg_catalog.tidsend({first}) END", f"{there} {joined} END"


def _fits(most: int | None) -> str:
    return "true" if most is None else f"pg_catalog.count(*) OPERATOR(pg_catalog.<=) {most}"


def digests_alone(rows: str, most: int | None, heap: Sequence[str], digests: Sequence[str]) -> str:
    """Write the digests of one or two keys as two values: the first of all, and what follows.

    ``digests`` stand over the rows of the statement, ``heap`` the same over ``rows``, a FROM
    clause. Every row must have all of them: a NULL leaves out more than its own, and the
    lengths show it. One digest is the separator before the other, which saves a call for
    each row; the server leaves out the first separator, so it is asked for.
    """
    if len(digests) == 1:
        first, joined = "NULL::bytea", f"pg_catalog.string_agg({digests[0]}, ''::bytea)"
    else:
        first = f"(SELECT {heap[0]} FROM {rows} LIMIT 1)"
        joined = f"pg_catalog.string_agg({digests[1]}, {digests[0]})"
    return f"{first}, coalesce(CASE WHEN {_fits(most)} THEN {joined} END, ''::bytea)"


def answer(
    key: ResolvedKey,
    operands: Sequence[str],
    part: str | None,
    address: tuple[str, str],
    test: str,
    packing: Packing,
    *,
    sparse: bool,
    rows: str,
    most: int | None,
) -> str:
    """Write, for one key, how many rows take part and their records in two values.

    These are the first address, where the records begin with a digest, and one ``bytea``.
    ``address`` is what a row's address is called, and what it is called as it is sent;
    ``rows`` and ``most`` are those of RowSql.

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
        rows=rows,
        most=most,
    )
    head, packed = packing(row)
    return f"{counted}, {head}, coalesce({packed}, ''::bytea)"

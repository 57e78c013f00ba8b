"""The proof of damage: what the server says through an index beside what the heap holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import psycopg
from psycopg import sql

from ..errors import LabError

_NO_INDEX = "enable_indexscan", "enable_indexonlyscan", "enable_bitmapscan"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One table's answers about one key, all at one moment without writers."""

    #: a duplicated key, one text a column; empty when the heap has none
    key: tuple[str, ...]
    #: rows of that key that a lookup through an index finds; None when no index answers it
    index_says: int | None
    #: rows of that key in the heap
    key_rows: int
    #: groups that a plain GROUP BY finds, by whatever plan the server likes
    group_by_says: int
    #: the scan under that plan, such as "Index Only Scan"
    group_by_reads: str
    #: groups in the heap
    heap_says: int
    #: rows with a key by a plain count(*), by whatever plan the server likes
    count_says: int
    #: rows with a key in the heap
    heap_rows: int


def prove(dsn: str, table: str, *expressions: str, where: str | None = None) -> Proof:
    """Ask the server about the key ``expressions`` of ``table``, with its indexes and without.

    ``table``, ``expressions`` and ``where`` (an index's predicate) are SQL. The
    table is vacuumed and analyzed first, so that the server may trust its
    indexes alone, and read whole several times. Raises LabError.
    """
    complete = " AND ".join(f"({expression}) IS NOT NULL" for expression in expressions)
    among = f"FROM {table} WHERE " + (f"({where}) AND {complete}" if where else complete)
    keys = ", ".join(f"({expression})" for expression in expressions)
    grouped = f"SELECT {keys} {among} GROUP BY {keys} HAVING count(*) > 1"
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            ask = _Asker(connection)
            connection.execute(sql.SQL(f"VACUUM (ANALYZE) {table}"))
            group_by_says = ask.number(f"SELECT count(*) FROM ({grouped}) g")
            group_by_reads = next((name for name in ask.plan(grouped) if "Scan" in name), "")
            count_says = ask.number(f"SELECT count(*) {among}")
            with ask.without(*_NO_INDEX):
                heap_says = ask.number(f"SELECT count(*) FROM ({grouped}) g")
                heap_rows = ask.number(f"SELECT count(*) {among}")
                texts = ", ".join(f"({expression})::text" for expression in expressions)
                key = ask.row(f"SELECT {texts} {among} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1")
                if key is None:
                    key = ()
                match = " AND ".join(
                    f"({expression}) = {sql.Literal(value).as_string(connection)}"
                    for expression, value in zip(expressions, key, strict=bool(key))
                )
                lookup = f"SELECT count(*) {among} AND {match}" if key else ""
                key_rows = ask.number(lookup) if key else 0
            with ask.without("enable_seqscan"):
                used = key and any("Index" in name for name in ask.plan(lookup))
                index_says = ask.number(lookup) if used else None
    except psycopg.Error as error:
        raise LabError(f"nothing could be proved about {table}: {str(error).strip()}") from error
    return Proof(
        key=tuple(map(str, key)),
        index_says=index_says,
        key_rows=key_rows,
        group_by_says=group_by_says,
        group_by_reads=group_by_reads,
        heap_says=heap_says,
        count_says=count_says,
        heap_rows=heap_rows,
    )


class _Asker:
    """One session that answers a question by one row."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self.connection = connection

    def row(self, question: str) -> tuple[Any, ...] | None:
        return self.connection.execute(sql.SQL(question.replace("%", "%%")), []).fetchone()

    def number(self, question: str) -> int:
        row = self.row(question)
        return int(row[0]) if row else 0

    def plan(self, question: str) -> Iterator[str]:
        """Yield the plan's nodes, the first one last."""
        row = self.row(f"EXPLAIN (FORMAT JSON) {question}")
        return _nodes(cast(dict[str, Any], row[0][0]["Plan"])) if row else iter(())

    @contextmanager
    def without(self, *settings: str) -> Iterator[None]:
        for setting in settings:
            self.connection.execute(sql.SQL(f"SET {setting} = off"))
        try:
            yield
        finally:
            for setting in settings:
                self.connection.execute(sql.SQL(f"RESET {setting}"))


def _nodes(plan: dict[str, Any]) -> Iterator[str]:
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)
    yield str(plan["Node Type"])

"""What the survivor takes of the rows that go: one expression for each way to merge."""

from __future__ import annotations

from ..errors import PolicyError
from ..relation import Column, Relation

#: What each merge needs to know of a column's type.
_NUMBERS = {
    "smallint", "integer", "bigint", "real", "double precision", "money", "interval",
}


def check_merge(how: str, column: Column, relation: Relation) -> None:
    """Raise PolicyError where a way to merge does not fit a column's type."""
    kind = column.type.split("(")[0]
    fits = {
        "first": True,
        "min": True,
        "max": True,
        "sum": kind in _NUMBERS or kind == "numeric",
        "or": kind == "boolean",
        "and": kind == "boolean",
        "concat": column.text,
        "union": column.element is not None,
        "jsonb": kind == "jsonb",
    }[how]
    if column.generated:
        raise PolicyError(f"{relation.label}.{column.name} is generated; nothing can be merged")
    if not fits:
        raise PolicyError(
            f"--merge {column.name}={how} does not fit the column's type, {column.type}",
            hint="first, min and max fit any type; sum numbers; or and and boolean; concat text;"
            " union arrays; jsonb jsonb objects.",
        )


def merged_value(how: str, column: Column, relation: Relation, *, members: str) -> str:
    """Write the merged value of a column over the rows of a group.

    ``members`` is a SELECT of (relid, place, ordinal), the survivor's ordinal being 0.
    Where no row has a value, the result is NULL.
    """
    at = "x.ctid = y.place AND " + (
        "x.tableoid = y.relid" if relation.partitioned else f"y.relid = {relation.oid}"
    )
    name = f"x.{column.sql}"
    rows = f"FROM ({members}) y JOIN {relation.source} x ON {at}"
    there = f"WHERE pg_catalog.num_nulls({name}) = 0"
    if how == "first":
        return f"(SELECT {name} {rows} {there} ORDER BY y.ordinal LIMIT 1)"
    if how in {"min", "max"}:
        way = "ASC" if how == "min" else "DESC"
        return f"(SELECT {name} {rows} {there} ORDER BY {name} {way}, y.ordinal LIMIT 1)"
    if how == "sum":
        return f"(SELECT pg_catalog.sum({name}) {rows})::{column.type}"
    if how in {"or", "and"}:
        return f"(SELECT pg_catalog.bool_{how}({name}) {rows})"
    if how == "concat":
        return (
            "(SELECT pg_catalog.string_agg(v, E'\\n' ORDER BY n) FROM"
            f" (SELECT {name}::pg_catalog.text AS v, min(y.ordinal) AS n {rows} {there}"
            f" GROUP BY 1) s)::{column.type}"
        )
    if how == "union":
        return (
            "(SELECT pg_catalog.array_agg(v ORDER BY n) FROM (SELECT u.v,"
            f" min(ROW(y.ordinal, u.n)::pg_catalog.text) AS t, min(y.ordinal * 1000000 + u.n) AS n"
            f" {rows} CROSS JOIN LATERAL pg_catalog.unnest({name}) WITH ORDINALITY u (v, n)"
            f" GROUP BY u.v) s)::{column.type}"
        )
    # Of a name that several rows have, the survivor's value counts: it comes last.
    return (
        f"(SELECT pg_catalog.jsonb_object_agg(e.key, e.value ORDER BY y.ordinal DESC) {rows}"
        f" CROSS JOIN LATERAL pg_catalog.jsonb_each({name}) e)"
    )

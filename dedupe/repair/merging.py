"""What the survivor takes of the rows that go: one expression for each way to merge."""

from __future__ import annotations

from ..errors import PolicyError
from ..journal import SCHEMA
from ..policy import CHOSEN
from ..relation import Column, Relation
from .pointing import literal, whole_type

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
        CHOSEN: True,
    }[how]
    if column.generated or column.identity_always:
        raise PolicyError(
            f"--merge {column.name}={how}: {relation.label}.{column.name} is generated; nothing"
            " can be merged into it",
            hint="Leave it out: the server says what it holds.",
        )
    if not fits:
        raise PolicyError(
            f"--merge {column.name}={how} does not fit the column's type, {column.type}",
            hint="first, min and max fit any type; sum numbers; or and and boolean; concat text;"
            " union arrays; jsonb jsonb objects.",
        )


def value_by_program(column: Column) -> str:
    """Write the value that a callable said for a column of the survivor of group ``h``.

    Parameters: run, and the round as the third.
    """
    return (
        f"(SELECT v.value FROM {SCHEMA}.merged v WHERE v.run = $1::text AND v.round = $3::int4"
        f" AND v.grp = h.grp AND v.name = {literal(column.name)})::{whole_type(column)}"
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
        return f"(SELECT pg_catalog.sum({name}) {rows})::{whole_type(column)}"
    if how in {"or", "and"}:
        return f"(SELECT pg_catalog.bool_{how}({name}) {rows})"
    if how == "concat":
        return (
            "(SELECT pg_catalog.string_agg(v, E'\\n' ORDER BY n) FROM"
            f" (SELECT {name}::pg_catalog.text AS v, min(y.ordinal) AS n {rows} {there}"
            f" GROUP BY 1) s)::{whole_type(column)}"
        )
    # Of nothing but empty ones the result is empty, not NULL.
    some = f"WHEN EXISTS (SELECT {rows} {there})"
    if how == "union":
        return (
            "coalesce((SELECT pg_catalog.array_agg(v ORDER BY o, n) FROM (SELECT DISTINCT ON (u.v)"
            f" u.v, y.ordinal AS o, u.n {rows} CROSS JOIN LATERAL"
            f" pg_catalog.unnest({name}) WITH ORDINALITY u (v, n) ORDER BY u.v, y.ordinal, u.n) s"
            f")::{whole_type(column)}, CASE {some} THEN '{{}}'::{whole_type(column)} END)"
        )
    # Of a name that several rows have, the survivor's value counts: it comes last.
    return (
        f"coalesce((SELECT pg_catalog.jsonb_object_agg(e.key, e.value ORDER BY y.ordinal DESC)"
        f" {rows} CROSS JOIN LATERAL pg_catalog.jsonb_each({name}) e),"
        f" CASE {some} THEN '{{}}'::pg_catalog.jsonb END)"
    )

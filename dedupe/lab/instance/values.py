"""Planted values as SQL over ``n``, the number of a copy."""

from __future__ import annotations

from psycopg import sql

from .manifest import Ids, Lines, Renamed, Value


def written(value: Value, kind: str) -> sql.Composable:
    """Write a value as an expression of the type ``kind`` (as format_type names it)."""
    return sql.SQL("({})::{}").format(_bare(value), sql.SQL(kind))


def differs(column: str, value: Value, kind: str) -> sql.Composable:
    """Write the condition that a column of ``t`` does not say what it should."""
    name = sql.SQL("t.{}").format(sql.Identifier(column))
    match value:
        case Renamed():
            before = _bare(value.before)
            return sql.SQL(
                "({0} IS NULL OR NOT starts_with({0}, {1}) OR lower({0}) = lower({1}))"
            ).format(name, before)
        case Lines():
            lines = sql.SQL(", ").join(map(_bare, value.lines))
            return sql.SQL(
                "(ARRAY(SELECT unnest(string_to_array({}, E'\\n')) ORDER BY 1)"
                " IS DISTINCT FROM ARRAY(SELECT unnest(ARRAY[{}]::text[]) ORDER BY 1))"
            ).format(name, lines)
        case tuple():
            return sql.SQL(
                "({0} IS NULL OR ARRAY(SELECT unnest({0}) ORDER BY 1)"
                " IS DISTINCT FROM ARRAY(SELECT unnest({1}) ORDER BY 1))"
            ).format(name, written(value, kind))
    return sql.SQL("({} IS DISTINCT FROM {})").format(name, written(value, kind))


def shown(value: Value) -> str:
    """Say a value to a person."""
    match value:
        case Ids():
            return f"{value.first} + n * {value.step}"
        case Renamed():
            return f"another one than {value.before}"
        case Lines():
            return " and ".join(value.lines)
        case tuple():
            return "[" + ", ".join(map(shown, value)) + "]"
    return repr(value)


def _bare(value: Value) -> sql.Composable:
    match value:
        case None:
            return sql.SQL("NULL")
        case Ids():
            return sql.SQL("{}::bigint + n * {}").format(
                sql.Literal(value.first), sql.Literal(value.step)
            )
        case tuple():
            return sql.SQL("ARRAY[{}]").format(sql.SQL(", ").join(map(_bare, value)))
        case str() if "{n}" in value:
            return sql.SQL("replace({}, '{{n}}', n::text)").format(sql.Literal(value))
        case bool() | int() | str():
            return sql.Literal(value)
    raise TypeError(f"{value!r} is expected of a row, not planted")

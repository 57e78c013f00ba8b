"""Columns and expressions that a user names: found in a table and checked.

An expression's type and collation are asked of the server without reading a row.

Source: https://www.postgresql.org/docs/current/indexes-expressional.html,
https://www.postgresql.org/docs/current/collation.html#COLLATION-CONCEPTS
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..driver_errors import translated
from ..errors import DedupeError, KeyDefinitionError, QueryFailed, UnknownObject, UnsupportedKeyType
from ..session import Session
from ..table import check_rights, find_relation, parse_name, quoted
from .catalog import Catalog, Equality, Source, qualified
from .spec import KeyPart, MatchKey
from .text import check_expression

_ROW = '"the row"'
#: SQLSTATE of what no key may hold, and its name
_NOT_IN_KEYS = {
    "42803": "an aggregate function",
    "42P20": "a window function",
    "0A000": "a function that returns several rows",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A part of the key, found in the table."""

    expression: str
    type: int
    display: str
    collation: int


def named_source(catalog: Catalog, key: MatchKey, *, own_path: bool) -> Source:
    """Find what ``MatchKey.from_columns`` and ``from_sqlalchemy`` named.

    Raises UnknownObject, UnsupportedRelation, KeyDefinitionError, UnsupportedKeyType.
    """
    session = catalog.session
    oid = find_relation(session, key.table or "")
    check_rights(session, [oid])
    schema, name, kind = session.row(
        "SELECT n.nspname, c.relname, c.relkind::text FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::oid",
        [oid],
    )
    table = qualified(schema, name)
    columns = _columns(session, oid)
    written = key.where is not None or any(not _is_column(p, columns) for p in key.parts)
    path = session.own_search_path if written or own_path else ""
    # A partitioned parent has no rows that ONLY would read, so no plan to look at.
    rows = f"{'' if kind == 'p' else 'ONLY '}{table} AS {_ROW}"
    found = []
    where = None if key.where is None else f"({key.where}\n)"
    for part in key.parts:
        if _is_column(part, columns):
            found.append(columns[part.text])
        elif part.column:
            raise _no_column(part.text, table, columns)
        else:
            check_expression(part.text, "key expression")
            found.append(_expression(session, part.text, rows, path, table, columns))
    if key.where is not None:
        _check_predicate(session, key.where, rows, path, table, columns)
    return Source(
        table_oid=oid,
        table=table,
        labels=tuple(part.text for part in key.parts),
        expressions=tuple(part.expression for part in found),
        types=tuple(part.type for part in found),
        displays=tuple(part.display for part in found),
        equalities=tuple(
            _equality(catalog, part, one) for part, one in zip(key.parts, found, strict=True)
        ),
        collations=tuple(catalog.collation(part.collation) for part in found),
        where=where,
        search_path=path,
    )


def _is_column(part: KeyPart, columns: Mapping[str, _Found]) -> bool:
    return part.column is not False and part.text in columns


def _columns(session: Session, oid: int) -> dict[str, _Found]:
    return {
        name: _Found(expression=quoted(name), type=type_oid, display=display, collation=collation)
        for name, type_oid, display, collation in session.rows(
            "SELECT attname, atttypid::int8, pg_catalog.format_type(atttypid, atttypmod),"
            " attcollation::int8 FROM pg_catalog.pg_attribute"
            " WHERE attrelid = $1::oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
            [oid],
        )
    }


def _equality(catalog: Catalog, part: KeyPart, found: _Found) -> Equality:
    """Return the equality of the named operator class, or the type's default."""
    key_type = catalog.type(found.type)
    if part.operator_class is None:
        operator_class = catalog.default_class(key_type)
    else:
        operator_class = _class_by_name(catalog.session, part.operator_class)
    equality = catalog.equality_of_class(operator_class) if operator_class else None
    if equality is None:
        raise UnsupportedKeyType(
            f"column {part.text}: type {found.display} has no equality that an index could use",
            hint="Give an expression that has one, for example a cast to text, jsonb or numeric.",
            type=found.display,
            column=part.text,
        )
    return equality


def _class_by_name(session: Session, text: str) -> int:
    schema, name = parse_name(text)
    rows = session.rows(
        "SELECT c.oid::int8 FROM pg_catalog.pg_opclass c"
        " JOIN pg_catalog.pg_am m ON m.oid = c.opcmethod AND m.amname = 'btree'"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.opcnamespace"
        " WHERE c.opcname = $1::text AND n.nspname = ANY ($2::text[])"
        " ORDER BY pg_catalog.array_position($2::text[], n.nspname::text) LIMIT 1",
        [name, [schema] if schema is not None else list(session.schemas)],
    )
    if not rows:
        raise UnknownObject(
            f"there is no btree operator class {text}", kind="operator class", name=text
        )
    return int(rows[0][0])


def _expression(
    session: Session,
    text: str,
    rows: str,
    path: str,
    table: str,
    columns: Mapping[str, _Found],
) -> _Found:
    """Ask the server for an expression's type and collation; refuse what is no key."""
    value = f"({text}\n)"
    try:
        with session.transaction(settings={"search_path": path}):
            # In WHERE the server refuses aggregates, window functions and sets itself.
            with translated():
                cursor = session.connection.execute(
                    f"SELECT {value} FROM {rows}"
                    f" WHERE pg_catalog.num_nulls({value}) OPERATOR(pg_catalog.=) 0"
                    " LIMIT $1::pg_catalog.int8".encode("utf-8", "surrogateescape"),
                    [0],
                )
            described = cursor.description or []
            if len(described) != 1 or cursor.pgresult is None:
                raise KeyDefinitionError(f"{text!r} is not one expression", key=text)
            type_oid = described[0].type_code
            display, kind, collatable = session.row(
                "SELECT pg_catalog.format_type(oid, $2::int4), typtype::text, typcollation <> 0"
                " FROM pg_catalog.pg_type WHERE oid = $1::oid",
                [type_oid, cursor.pgresult.fmod(0)],
            )
            if kind == "p":
                raise UnsupportedKeyType(
                    f"column {text}: an index cannot hold the pseudo-type {display}",
                    hint="List the columns of a row one by one.",
                    type=display,
                    column=text,
                )
            _refuse_volatile(session, "key expression", text, rows)
            collation = 0
            if collatable:
                (collation,) = session.row(
                    "SELECT coalesce(pg_catalog.pg_collation_for(k)"
                    "::pg_catalog.regcollation::pg_catalog.oid::pg_catalog.int8, 0)"
                    f" FROM (SELECT {value} AS k FROM (SELECT) AS nothing"
                    f" LEFT JOIN {rows} ON false) AS s"
                )
    except QueryFailed as error:
        raise _refused("key expression", text, error, table, columns) from error
    if collatable and not collation:
        raise KeyDefinitionError(
            f"the key expression {text!r} mixes collations, so its equality is not known",
            hint='Write the collation behind it: … COLLATE "C".',
            key=text,
        )
    return _Found(expression=value, type=type_oid, display=display, collation=collation)


def _check_predicate(
    session: Session,
    text: str,
    rows: str,
    path: str,
    table: str,
    columns: Mapping[str, _Found],
) -> None:
    try:
        with session.transaction(settings={"search_path": path}):
            session.rows(f"SELECT 1 FROM {rows} WHERE ({text}\n) LIMIT $1::pg_catalog.int8", [0])
            _refuse_volatile(session, "predicate", text, rows)
    except QueryFailed as error:
        raise _refused("predicate", text, error, table, columns) from error


def _refuse_volatile(session: Session, what: str, text: str, rows: str) -> None:
    """Raise KeyDefinitionError where the text can change from one reading to the next.

    The planner pulls a subquery up unless an output of it is volatile.
    """
    ((plan,),) = session.rows(
        f"EXPLAIN (FORMAT JSON) SELECT 1 FROM (SELECT ({text}\n) AS k FROM {rows}) AS s"
        " WHERE pg_catalog.num_nulls(k) OPERATOR(pg_catalog.=) 0"
    )
    if "Subquery Scan" in _node_types(plan[0]["Plan"]):
        raise KeyDefinitionError(
            f"the {what} {text!r} is volatile: it would say something else each time",
            hint="Use functions that are immutable, or at least stable.",
            key=text,
        )


def _node_types(plan: Mapping[str, Any]) -> set[str]:
    below: Iterable[Mapping[str, Any]] = plan.get("Plans", ())
    return {plan["Node Type"]}.union(*(_node_types(one) for one in below))


def _no_column(name: str, table: str, columns: Iterable[str]) -> UnknownObject:
    known = {column.lower(): column for column in columns}
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6)
    names = ", ".join(known[one] for one in close)
    return UnknownObject(
        f"there is no column {name} in table {table}",
        hint=f"Similar columns: {names}." if names else f"It has: {', '.join(known.values())}.",
        kind="column",
        name=name,
    )


def _refused(
    what: str, text: str, error: QueryFailed, table: str, columns: Iterable[str]
) -> DedupeError:
    """Turn what the server says about a user's SQL into an error of the key."""
    cause = error.__cause__
    diagnostics = getattr(cause, "diag", None)
    words = (diagnostics.message_primary if diagnostics else None) or error.message
    if error.sqlstate == "42703":
        # The name stands in the server's words, in whatever language, in quotes.
        found = re.search(r'["„«“](.+?)["”»“]', words)
        return _no_column(found.group(1).strip() if found else text.strip(), table, columns)
    state = str(error.sqlstate)
    hint = "Write what could stand in CREATE INDEX ON … ((expression))."
    if state in _NOT_IN_KEYS and "WHERE" in words:
        return KeyDefinitionError(
            f"the {what} {text!r} holds {_NOT_IN_KEYS[state]}: {words}", hint=hint, key=text
        )
    if state == "42P01":
        hint = "Write column names alone, without the table's name."
    return KeyDefinitionError(f"the {what} {text!r} is refused: {words}", hint=hint, key=text)

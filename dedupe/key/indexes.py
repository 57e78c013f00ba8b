"""The key of an index: its columns, expressions and predicate as the catalogs tell them.

Where a key has expressions, they are also evaluated on at most one row out of the
first 64 blocks of the table, to learn under which search path they work; an ACCESS
SHARE lock is held for that statement. Nothing is searched through an index.

Source: https://www.postgresql.org/docs/current/catalog-pg-index.html,
https://www.postgresql.org/docs/current/functions-info.html (pg_get_indexdef)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from ..errors import (
    KeyDefinitionError,
    QueryFailed,
    UnknownObject,
    UnreadableData,
    UnsupportedRelation,
    UsageError,
)
from ..session import Session
from ..table import INDEX_KINDS, check_rights, find_relation, parse_name, quoted
from .catalog import Catalog, Source, qualified

#: What the server says where a name cannot be found: function or operator,
#: table, type or collation, schema, column.
_NOT_FOUND = {"42883", "42P01", "42704", "3F000", "42703"}
_TRIAL_BLOCKS = 64
_CSTRING, _NAME = 2275, 19


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A row of pg_index, with names."""

    oid: int
    name: str
    table_oid: int
    table: str
    partitioned: bool
    nulls_distinct: bool
    columns: int
    classes: Sequence[int]
    collations: Sequence[int]


def find_index(session: Session, text: str, table: str | None) -> int:
    """Return the oid of an index by its name, of a table if that is named. Raises UnknownObject."""
    if table is None:
        return find_relation(session, text, kinds=INDEX_KINDS)
    return _index_of_table(session, text, table)


def _read_index(session: Session, text: str, table: str | None) -> Index:
    oid = find_index(session, text, table)
    # The column came with 15; through to_jsonb one statement reads every version.
    row = session.row(
        """
        SELECT c.relname, i.indrelid::int8, n.nspname, t.relname, t.relkind::text, m.amname,
               i.indisexclusion,
               coalesce((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false),
               i.indnkeyatts::int4, i.indclass::oid[]::int8[], i.indcollation::oid[]::int8[],
               (SELECT (pg_catalog.to_jsonb(k) ->> 'conperiod')::bool
                FROM pg_catalog.pg_constraint k WHERE k.conindid = c.oid
                  AND k.contype IN ('p', 'u', 'x') LIMIT 1)
        FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
        JOIN pg_catalog.pg_am m ON m.oid = c.relam
        JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
        WHERE i.indexrelid = $1::oid
        """,
        [oid],
    )
    name, table_oid, schema, table, kind, method = row[:6]
    exclusion, nulls_equal, columns, classes, collations, temporal = row[6:]
    if temporal:
        raise KeyDefinitionError(
            f"index {name} is temporal (WITHOUT OVERLAPS): its rows conflict by overlapping,"
            " which is no equality",
            hint="Give the columns that must be equal with MatchKey.from_columns.",
            key=name,
        )
    if exclusion or method != "btree":
        what = "belongs to an exclusion constraint" if exclusion else f"is a {method} index"
        raise KeyDefinitionError(
            f"index {name} {what}; only a btree index says what makes two rows the same",
            hint="Give its columns with MatchKey.from_columns.",
            key=name,
        )
    if kind not in "rpm":
        raise UnsupportedRelation(
            f"index {name} belongs to {schema}.{table}, which is no table of users' rows",
            name=f"{schema}.{table}",
            kind=kind,
        )
    return Index(
        oid=oid,
        name=name,
        table_oid=table_oid,
        table=qualified(schema, table),
        partitioned=kind == "p",
        nulls_distinct=not nulls_equal,
        columns=columns,
        classes=classes,
        collations=collations,
    )


def _index_of_table(session: Session, text: str, table: str) -> int:
    """Return the oid of an index of ``table``; raises UnknownObject."""
    rows = session.rows(
        "SELECT c.oid::int8, c.relname, n.nspname FROM pg_catalog.pg_index i"
        " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE i.indrelid = $1::oid ORDER BY i.indisunique DESC, c.relname",
        [find_relation(session, table)],
    )
    wanted: list[tuple[str | None, str]] = [(None, text)]
    try:
        wanted.insert(0, parse_name(text))
    except UsageError:
        # No name by SQL's rules, but perhaps the bare name itself.
        pass
    for schema, name in wanted:
        for oid, known, where in rows:
            if known == name and schema in (None, where):
                return int(oid)
    names = ", ".join(known for _, known, _ in rows[:5])
    raise UnknownObject(
        f"table {table} has no index {text}",
        hint=f"It has: {names}." if names else "It has no index; name the key's columns.",
        kind="index",
        name=text,
    )


def index_source(
    catalog: Catalog, text: str, table: str | None, *, own_path: bool
) -> tuple[Index, Source]:
    """Read an index's key under the pinned search path, or where that does not do, the role's.

    Raises UnknownObject, UnsupportedRelation, KeyDefinitionError.
    """
    session = catalog.session
    index = _read_index(session, text, table)
    check_rights(session, [index.table_oid])
    try:
        return index, _under_path(catalog, index, session.own_search_path if own_path else "")
    except QueryFailed as error:
        if own_path or error.sqlstate not in _NOT_FOUND:
            raise _cannot_be_evaluated(index.name, error) from error
    # The body of a key function names something without its schema, and was
    # written for the path of those who use it. pg_get_indexdef is asked under
    # that path too, so that it qualifies what the path would hide.
    try:
        return index, _under_path(catalog, index, session.own_search_path)
    except QueryFailed as error:
        raise _cannot_be_evaluated(index.name, error) from error


def _under_path(catalog: Catalog, index: Index, path: str) -> Source:
    """Read the index's expressions and predicate under a path, and try them on a row."""
    session = catalog.session
    # The empty one is a session's own.
    under = session.transaction(settings={"search_path": path}) if path else nullcontext()
    with under:
        columns = session.rows(
            """
            SELECT k.attnum <> 0, a.atttypid::int8,
                   pg_catalog.format_type(a.atttypid, a.atttypmod),
                   CASE WHEN k.attnum <> 0 THEN a.attname
                        ELSE pg_catalog.pg_get_indexdef($1::oid, k.n::int4, false) END,
                   pg_catalog.pg_get_expr(i.indpred, i.indrelid)
            FROM pg_catalog.pg_index i,
                 pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, n),
                 pg_catalog.pg_attribute a
            WHERE i.indexrelid = $1::oid AND k.n <= i.indnkeyatts
              AND a.attrelid = CASE WHEN k.attnum = 0 THEN i.indexrelid ELSE i.indrelid END
              AND a.attnum = CASE WHEN k.attnum = 0 THEN k.n ELSE k.attnum END
            ORDER BY k.n
            """,
            [index.oid],
        )
        plain, types, displays, texts, (where, *_) = (
            [*values] for values in zip(*columns, strict=True)
        )
        for number, type_oid in enumerate(types):
            if type_oid == _CSTRING:
                # An index keeps an expression of type name as cstring.
                types[number], displays[number] = _NAME, "name"
        expressions = [
            quoted(text) if is_column else f"({text})"
            for text, is_column in zip(texts, plain, strict=True)
        ]
        predicate = None if where is None else f"({where})"
        if not all(plain) or predicate is not None:
            _try_on_a_row(session, index, [*expressions, *([predicate] if predicate else [])])
    equalities = []
    for operator_class, display, text in zip(index.classes, displays, texts, strict=False):
        equality = catalog.equality_of_class(operator_class)
        if equality is None:
            raise KeyDefinitionError(
                f"index {index.name}: the operator class of {text} ({display}) names no equality",
                key=index.name,
            )
        equalities.append(equality)
    return Source(
        table_oid=index.table_oid,
        table=index.table,
        labels=tuple(texts),
        expressions=tuple(expressions),
        types=tuple(types),
        displays=tuple(displays),
        equalities=tuple(equalities),
        collations=tuple(catalog.collation(oid) for oid in index.collations[: index.columns]),
        where=predicate,
        search_path=path,
    )


def _try_on_a_row(session: Session, index: Index, expressions: Sequence[str]) -> None:
    only = "" if index.partitioned else "ONLY "
    try:
        session.rows(
            # Counting evaluates them and sends back no value that the client cannot hold.
            f"SELECT pg_catalog.num_nulls({', '.join(expressions)})"
            f' FROM {only}{index.table} AS "the row"'
            f" WHERE ctid OPERATOR(pg_catalog.<) '({_TRIAL_BLOCKS},0)'::pg_catalog.tid LIMIT 1"
        )
    except UnreadableData:
        # The scan meets the damaged row again and reports it by its address. The
        # names were found, which is what was asked; the transaction only read.
        session.connection.rollback()


def _cannot_be_evaluated(name: str, error: QueryFailed) -> KeyDefinitionError:
    return KeyDefinitionError(
        f"the key of index {name} cannot be evaluated: {error.message}",
        hint="A function of the key may lack SET search_path; connect as the role that uses"
        " the table, or give the key with MatchKey.from_columns.",
        key=name,
    )

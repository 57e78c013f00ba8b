"""Give a key its meaning in one database: types, equalities, hashes, search path.

Reads catalogs. Where a key has expressions, it also evaluates them on at most one
row out of the first 64 blocks of the table, to learn under which search path they
work; an ACCESS SHARE lock is held for that statement. Nothing is searched through
an index.

Source: https://www.postgresql.org/docs/current/catalog-pg-index.html,
https://www.postgresql.org/docs/current/functions-info.html (pg_get_indexdef)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..connect import Session
from ..errors import KeyDefinitionError, QueryFailed, UnreadableData, UnsupportedRelation
from ..table import INDEX_KINDS, find_relation, quoted
from .catalog import Catalog, Collation, Equality, qualified
from .columns import Source, named_source
from .digest import KeyColumn, ResolvedKey
from .hashing import Hasher, operand_cast
from .spec import MatchKey

#: What the server says where a name cannot be found: function or operator,
#: table, type or collation, schema, column.
_NOT_FOUND = {"42883", "42P01", "42704", "3F000", "42703"}
_TRIAL_BLOCKS = 64
_CSTRING, _NAME = 2275, 19


def resolve(session: Session, key: MatchKey) -> ResolvedKey:
    """Resolve a key; call it outside a transaction.

    Raises UnknownObject (index, table, column), UnsupportedRelation,
    KeyDefinitionError (not a btree index, temporal, a bad expression or
    predicate), UnsupportedKeyType (no equality, no hash that agrees with it).
    """
    catalog = Catalog(session)
    if key.index is not None:
        return _of_index(catalog, key.index, key.label)
    source = named_source(catalog, key)
    hasher = Hasher(catalog)
    return _built(catalog, hasher, source, key.name, key.nulls_distinct, None)


def unique_keys(session: Session, table_oid: int) -> list[MatchKey]:
    """List the unique btree indexes of a table as keys, the primary key first.

    Of a partitioned table these are its own indexes and, behind them, the indexes
    that single partitions have to themselves. Indexes that are being dropped and the
    leftovers of a failed REINDEX CONCURRENTLY (``…_ccnew``, ``…_ccold``) are left
    out; other INVALID ones are in, for their keys ought to be unique as well.
    """
    rows = session.rows(
        """
        WITH relations AS (
            SELECT $1::oid AS relid, 0 AS level
            UNION
            SELECT t.relid::oid, t.level FROM pg_catalog.pg_partition_tree($1::oid::regclass) t
        )
        SELECT n.nspname, c.relname
        FROM relations r
        JOIN pg_catalog.pg_index i ON i.indrelid = r.relid
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        JOIN pg_catalog.pg_am m ON m.oid = c.relam AND m.amname = 'btree'
        WHERE i.indisunique AND i.indislive AND NOT i.indisexclusion
          AND (r.level = 0 OR NOT c.relispartition)
          AND NOT (NOT i.indisvalid AND c.relname::text ~ '_cc(new|old)[0-9]*$')
        ORDER BY r.level, i.indisprimary DESC, n.nspname, c.relname
        """,
        [table_oid],
    )
    return [MatchKey.from_index(f"{quoted(schema)}.{quoted(name)}") for schema, name in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
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


def _read_index(session: Session, text: str) -> _Index:
    oid = find_relation(session, text, kinds=INDEX_KINDS)
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
    return _Index(
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


def _of_index(catalog: Catalog, text: str, label: str | None) -> ResolvedKey:
    session = catalog.session
    index = _read_index(session, text)
    try:
        source = _index_source(catalog, index, "")
    except QueryFailed as error:
        if error.sqlstate not in _NOT_FOUND:
            raise _cannot_be_evaluated(index.name, error) from error
        # The body of a key function names something without its schema, and was
        # written for the path of those who use it. pg_get_indexdef is asked under
        # that path too, so that it qualifies what the path would hide.
        try:
            source = _index_source(catalog, index, session.own_search_path)
        except QueryFailed as again:
            raise _cannot_be_evaluated(index.name, again) from again
    return _built(
        catalog, Hasher(catalog), source, label or index.name, index.nulls_distinct, index.oid
    )


def _index_source(catalog: Catalog, index: _Index, path: str) -> Source:
    """Read the index's expressions and predicate under a path, and try them on a row."""
    session = catalog.session
    with session.transaction(settings={"search_path": path}):
        columns = session.rows(
            """
            SELECT k.attnum <> 0, a.atttypid::int8,
                   pg_catalog.format_type(a.atttypid, a.atttypmod),
                   CASE WHEN k.attnum <> 0 THEN a.attname
                        ELSE pg_catalog.pg_get_indexdef($1::oid, k.n::int4, false) END
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
        (where,) = session.row(
            "SELECT pg_catalog.pg_get_expr(indpred, indrelid) FROM pg_catalog.pg_index"
            " WHERE indexrelid = $1::oid",
            [index.oid],
        )
        plain, types, displays, texts = ([*values] for values in zip(*columns, strict=True))
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


def _try_on_a_row(session: Session, index: _Index, expressions: Sequence[str]) -> None:
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


def _built(
    catalog: Catalog,
    hasher: Hasher,
    source: Source,
    name: str,
    nulls_distinct: bool,
    index_oid: int | None,
) -> ResolvedKey:
    """Put the hashes in and write the definition."""
    columns = tuple(
        _column(catalog, hasher, source, number) for number in range(len(source.expressions))
    )
    draft = ResolvedKey(
        name=name,
        table_oid=source.table_oid,
        columns=columns,
        where=source.where,
        nulls_distinct=nulls_distinct,
        search_path=source.search_path,
        definition="",
        index_oid=index_oid,
        bytes_hash=hasher.bytes_hash.template,
    )
    return ResolvedKey(
        **{field: getattr(draft, field) for field in draft.__slots__ if field != "definition"},
        definition=_definition(draft, source.table),
    )


def _column(catalog: Catalog, hasher: Hasher, source: Source, number: int) -> KeyColumn:
    declared = source.types[number]
    key_type = catalog.type(declared)
    equality: Equality = source.equalities[number]
    collation: Collation | None = source.collations[number]
    found = hasher.hash(key_type, equality, collation, source.labels[number])
    cast = operand_cast(key_type, declared, equality)
    template = found.template
    return KeyColumn(
        expression=source.expressions[number],
        type=source.displays[number],
        equality=equality.sql,
        collation=collation.sql if collation else None,
        cast=cast,
        row_type=key_type.kind == "c",
        hash=template,
        strict=found.strict,
        exact=hasher.exact(equality),
    )


def _definition(key: ResolvedKey, table: str) -> str:
    """Write everything that decides which rows are the same, one fact a line.

    The digest's own SQL is part of it: digests of two kinds must not meet in a run.
    """
    lines = [f"table {table}"]
    for column in key.columns:
        collation = f" COLLATE {column.collation}" if column.collation else ""
        cast = f"::{column.cast}" if column.cast else ""
        lines.append(f"column {column.expression} {column.type}{cast}{collation} {column.equality}")
    if key.where is not None:
        lines.append(f"where {key.where}")
    lines.append("nulls distinct" if key.nulls_distinct else "nulls not distinct")
    lines.append(f"search_path {key.search_path}")
    lines.append("digest " + key.digest([f"k{n}" for n in range(len(key.columns))]))
    return "\n".join(lines)

"""Give a key its meaning in one database: types, equalities, hashes, search path.

Source: https://www.postgresql.org/docs/current/catalog-pg-index.html,
https://www.postgresql.org/docs/current/btree.html (operator classes)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..session import Session
from ..table import quoted
from .catalog import Catalog, Source
from .columns import named_source
from .digest import KeyColumn, ResolvedKey
from .hashing import Hasher, operand_cast
from .indexes import index_source
from .spec import MatchKey


def resolve(session: Session, key: MatchKey, *, own_path: bool = False) -> ResolvedKey:
    """Resolve a key; call it outside a transaction.

    ``own_path`` has an index's expressions written and read under the role's own
    search path; otherwise that is done only where the pinned one does not do.

    Raises UnknownObject (index, table, column), UnsupportedRelation,
    KeyDefinitionError (not a btree index, temporal, a bad expression or
    predicate), UnsupportedKeyType (no equality, no hash that agrees with it).
    """
    catalog = Catalog(session)
    if key.index is not None:
        index, source = index_source(catalog, key.index, key.table, own_path=own_path)
        return _built(
            catalog, source, key.label or index.name, index.nulls_distinct, index_oid=index.oid
        )
    source = named_source(catalog, key, own_path=own_path)
    return _built(catalog, source, key.name, key.nulls_distinct, index_oid=None)


def resolve_all(session: Session, keys: Sequence[MatchKey]) -> tuple[ResolvedKey, ...]:
    """Resolve keys that one statement reads together: they share one search path.

    What the catalogs write under the pinned path can mean something else under
    another (a function in public that fits better than the one meant), so one key
    that needs the role's own path has all of them written anew under it.
    Raises what ``resolve`` raises.
    """
    resolved = tuple(resolve(session, key) for key in keys)
    if len({key.search_path for key in resolved}) > 1:
        resolved = tuple(resolve(session, key, own_path=True) for key in keys)
    return resolved


def keys_of_table(session: Session, table_oid: int) -> list[MatchKey]:
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


def _built(
    catalog: Catalog, source: Source, name: str, nulls_distinct: bool, *, index_oid: int | None
) -> ResolvedKey:
    """Put the hashes in and write the definition."""
    hasher = Hasher(catalog)
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
    return replace(draft, definition=_definition(draft, source.table))


def _column(catalog: Catalog, hasher: Hasher, source: Source, number: int) -> KeyColumn:
    declared = source.types[number]
    key_type = catalog.type(declared)
    equality, collation = source.equalities[number], source.collations[number]
    found = hasher.hash(key_type, equality, collation, source.labels[number])
    cast = operand_cast(key_type, declared, equality)
    return KeyColumn(
        expression=source.expressions[number],
        type=source.displays[number],
        equality=equality.sql,
        collation=collation.sql if collation else None,
        cast=cast,
        row_type=key_type.kind == "c",
        hash=found.template,
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

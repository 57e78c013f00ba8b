"""The keys of one scan belong to one table, or to single partitions of it."""

from __future__ import annotations

from collections.abc import Sequence

from ..connect import Connectable, connect
from ..errors import KeyDefinitionError, UnknownObject
from ..key import MatchKey, ResolvedKey, keys_of_table
from ..session import Session
from ..table import find_relation


def table_of(session: Session, keys: Sequence[ResolvedKey]) -> int:
    """Return the oid of the table that a scan of ``keys`` reads.

    Raises KeyDefinitionError where they are keys of several tables.
    """
    oids = dict.fromkeys(key.table_oid for key in keys)
    for oid in oids:
        below = {
            found
            for (found,) in session.rows(
                "SELECT relid::oid::int8 FROM pg_catalog.pg_partition_tree($1::oid::regclass)",
                [oid],
            )
        }
        if oids.keys() <= below | {oid}:
            return oid
    raise KeyDefinitionError(
        f"the keys {', '.join(key.name for key in keys)} belong to different tables",
        hint="Scan each table in a run of its own.",
        key=keys[0].name,
    )


def unique_keys(
    db: Connectable, table: str | None = None, schemas: Sequence[str] = ()
) -> list[tuple[str, list[MatchKey]]]:
    """List tables with the keys of their unique indexes and constraints.

    One table, or every user table with such an index (of ``schemas``, if any are
    named), by schema and name; partitions are part of their partitioned table. Tables
    of other sessions' temporary schemas are left out.
    Raises UnknownObject, UnsupportedRelation.
    """
    with connect(db).open() as session:
        if table is not None:
            return [(table, keys_of_table(session, find_relation(session, table)))]
        for schema in schemas:
            if not session.rows(
                "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1::text", [schema]
            ):
                raise UnknownObject(
                    f"there is no schema {schema} in this database",
                    hint="A schema's name is written as it is stored, without quotes.",
                    kind="schema",
                    name=schema,
                )
        tables = session.rows(
            """
            SELECT c.oid::int8, n.nspname || '.' || c.relname
            FROM pg_catalog.pg_class c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind::text = ANY ('{r,p,m}') AND NOT c.relispartition
              AND c.relpersistence::text <> 't'
              AND n.nspname <> 'information_schema' AND n.nspname::text !~ '^pg_'
              AND (pg_catalog.cardinality($1::text[]) = 0 OR n.nspname = ANY ($1::text[]))
            ORDER BY n.nspname, c.relname
            """,
            [list(schemas)],
        )
        found = [(label, keys_of_table(session, oid)) for oid, label in tables]
    return [(label, keys) for label, keys in found if keys]

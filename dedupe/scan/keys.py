"""The keys of one scan belong to one table, or to single partitions of it."""

from __future__ import annotations

from collections.abc import Sequence

from ..connect import Connectable, connect
from ..errors import KeyDefinitionError, UnknownObject, UsageError
from ..key import MatchKey, ResolvedKey, keys_of_table, resolve
from ..session import Session
from ..table import Table, find_relation, load_table, parse_name


def load_scanned(session: Session, keys: Sequence[ResolvedKey]) -> Table:
    """Load the table that a scan of ``keys`` reads, with the leaves that they cover.

    It is the lowest table that all keys' tables are, or are partitions of.
    Raises KeyDefinitionError where there is none, and what ``load_table`` raises.
    """
    lines = [
        dict.fromkeys(
            [
                oid,
                *(
                    above
                    for (above,) in session.rows(
                        "SELECT relid::oid::int8"
                        " FROM pg_catalog.pg_partition_ancestors($1::oid::regclass)",
                        [oid],
                    )
                ),
            ]
        )
        for oid in dict.fromkeys(key.table_oid for key in keys)
    ]
    for oid in lines[0]:
        if all(oid in line for line in lines):
            table = load_table(session, oid)
            wanted = {key.table_oid for key in keys}
            return table.numbered([leaf.oid for leaf in table.leaves if wanted & leaf.lineage])
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


def usable_keys(
    db: Connectable, keys: Sequence[MatchKey]
) -> tuple[list[MatchKey], list[tuple[str, KeyDefinitionError | UnknownObject]]]:
    """Divide keys of one table into those that ``scan`` can take together and those it cannot.

    Each of the latter comes with its name, as results show it, and the reason. A key that
    can be evaluated under one search path only is refused where another key needs the
    role's own. Reads what ``scan`` reads of the keys before it begins.
    Raises what concerns the whole table: PermissionDenied, RowSecurityHidesRows,
    UnsupportedRelation.
    """
    usable = list(keys)
    refused: list[tuple[str, KeyDefinitionError | UnknownObject]] = []
    with connect(db).open() as session:
        for own_path in (False, True):
            paths: set[str] = set()
            taken: list[MatchKey] = []
            for key in usable:
                try:
                    paths.add(resolve(session, key, own_path=own_path).search_path)
                except (KeyDefinitionError, UnknownObject) as error:
                    refused.append((_shown_name(key), error))
                else:
                    taken.append(key)
            usable = taken
            if len(paths) < 2:
                break
    return usable, refused


def _shown_name(key: MatchKey) -> str:
    if key.label is not None or key.index is None:
        return key.name
    try:
        return parse_name(key.index)[1]
    except UsageError:
        # No name by SQL's rules is the bare name itself.
        return key.index

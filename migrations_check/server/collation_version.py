"""Collations whose library sorts in another version now than when their indexes were built.

Sources: https://www.postgresql.org/docs/current/sql-altercollation.html,
https://wiki.postgresql.org/wiki/Locale_data_changes
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterator

from dedupe.table import quoted

from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Compare the stored versions with the library's; name every index that depends on them."""
    catalog = at.catalog
    changed: dict[int, tuple[str, str, str, str]] = {}
    for oid, schema, name, then, now in catalog.rows(
        "SELECT l.oid::int8, n.nspname, l.collname, l.collversion,"
        " pg_catalog.pg_collation_actual_version(l.oid)"
        " FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace n"
        " ON n.oid = l.collnamespace WHERE l.collversion IS NOT NULL AND EXISTS (SELECT"
        " FROM pg_catalog.pg_attribute a WHERE a.attcollation = l.oid AND a.attrelid >= 16384)"
    ):
        if now != then:
            refresh = f"ALTER COLLATION {quoted(schema)}.{quoted(name)} REFRESH VERSION"
            changed[oid] = (f"{schema}.{name}", then, str(now), refresh)
    if catalog.major >= 15:
        ((then, now),) = catalog.rows(
            "SELECT datcollversion, pg_catalog.pg_database_collation_actual_version(oid)"
            " FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"
        )
        if then is not None and now != then:
            refresh = f"ALTER DATABASE {quoted(catalog.database)} REFRESH COLLATION VERSION"
            changed[100] = (f"{catalog.database}'s default", then, str(now), refresh)
    else:
        yield from _not_kept(at)
    if not changed:
        return
    indexes: dict[int, list[str]] = defaultdict(list)
    for oid, name in catalog.rows(
        "SELECT DISTINCT k.oid::int8, n.nspname || '.' || c.relname FROM pg_catalog.pg_index i"
        " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " CROSS JOIN LATERAL pg_catalog.unnest(i.indcollation::oid[]) k (oid)"
        " WHERE k.oid = ANY ($1::oid[]) AND c.relkind = 'i' AND i.indexrelid >= 16384"
        " ORDER BY 2",
        [list(changed)],
    ):
        indexes[oid].append(name)
    rebuild = "REINDEX INDEX" + (" CONCURRENTLY" if catalog.major >= 12 else "")
    for oid, (label, then, now, refresh) in changed.items():
        for name in indexes[oid]:
            yield at.warning(
                f"{catalog.database}/{name}",
                f"it is sorted by the collation {label} of version {then}, and the library sorts"
                f" in version {now}: lookups miss rows and duplicates come in",
                f"psql -d {shlex.quote(catalog.database)} -c"
                f" {shlex.quote(f'{rebuild} {_sql(name)}')}, after its duplicates are repaired;"
                f" and when all are rebuilt: {refresh}",
            )
        if not indexes[oid]:
            yield at.warning(
                at.named(label),
                f"the collation is recorded as version {then} and the library has {now}; no index"
                " is sorted by it",
                refresh,
            )


def _sql(name: str) -> str:
    schema, _, index = name.partition(".")
    return f"{quoted(schema)}.{quoted(index)}"


def _not_kept(at: Look) -> Iterator[Said]:
    """Before 15 no version of libc's is kept for a database's own collation."""
    ((collate, used),) = at.catalog.rows(
        "SELECT d.datcollate, EXISTS (SELECT FROM pg_catalog.pg_index i"
        " WHERE 100 = ANY (i.indcollation::oid[]) AND i.indexrelid >= 16384)"
        " FROM pg_catalog.pg_database d WHERE datname = pg_catalog.current_database()"
    )
    if used and collate.partition(".")[0] not in {"C", "POSIX"}:
        yield at.unseen(
            at.catalog.database,
            f"PostgreSQL {at.catalog.major} keeps no version of the collation {collate}, so"
            " whether the system's C library changed is not known; the scan of the keys finds"
            " what came of it",
        )


RULE = Rule(name="collation-version", scope="database", look=look)

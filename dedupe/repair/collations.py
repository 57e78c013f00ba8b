"""Collations whose library is another version now than when their indexes were built.

Source: https://www.postgresql.org/docs/current/sql-altercollation.html (REFRESH VERSION)
"""

from __future__ import annotations

from ..key.catalog import qualified
from ..session import Session
from ..table import quoted


def collation_advice(session: Session, index_oid: int) -> tuple[str, ...]:
    """Say which collations of an index changed, and what to do before they are refreshed.

    Refreshing only silences the server's warning, so it comes last: behind the rebuild of
    every index that is sorted by the collation. Reads the catalogs only.
    """
    found = []
    for oid, schema, name, default, then, now in session.rows(
        """
        SELECT l.oid::int8, n.nspname, l.collname, l.collprovider = 'd',
            CASE WHEN l.collprovider = 'd'
                 THEN pg_catalog.to_jsonb(d) ->> 'datcollversion' ELSE l.collversion END,
            CASE WHEN l.collprovider <> 'd' THEN pg_catalog.pg_collation_actual_version(l.oid) END
        FROM pg_catalog.pg_index i
        CROSS JOIN LATERAL (SELECT DISTINCT k.oid FROM pg_catalog.unnest(i.indcollation::oid[])
                            k (oid) WHERE k.oid <> 0) k
        JOIN pg_catalog.pg_collation l ON l.oid = k.oid
        JOIN pg_catalog.pg_namespace n ON n.oid = l.collnamespace
        JOIN pg_catalog.pg_database d ON d.datname = pg_catalog.current_database()
        WHERE i.indexrelid = $1::oid
        ORDER BY n.nspname, l.collname
        """,
        [index_oid],
    ):
        actual = now
        if default and session.version >= 150000:
            (actual,) = session.row(
                "SELECT pg_catalog.pg_database_collation_actual_version(oid)"
                " FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()"
            )
        if then is None or actual is None or then == actual:
            continue
        (others,) = session.row(
            "SELECT count(*) FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c"
            " ON c.oid = i.indexrelid WHERE $1::oid = ANY (i.indcollation::oid[])"
            " AND i.indexrelid <> $2::oid AND c.relkind = 'i'",
            [oid, index_oid],
        )
        (database,) = session.row("SELECT pg_catalog.current_database()")
        statement = (
            f"ALTER DATABASE {quoted(database)} REFRESH COLLATION VERSION"
            if default
            else f"ALTER COLLATION {qualified(schema, name)} REFRESH VERSION"
        )
        found.append(
            f"The collation {schema}.{name} was version {then} and is {actual} now; {others} other"
            f" indexes are sorted by it. Rebuild them all, and only then: {statement};"
        )
    return tuple(found)

"""What amcheck says of the unique indexes, in databases where it is installed.

Source: https://www.postgresql.org/docs/current/amcheck.html
"""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.errors import PermissionDenied, QueryFailed, UnreadableData
from dedupe.table import quoted

from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Check the order of every valid unique index; without amcheck nothing is said."""
    found = at.catalog.rows(
        "SELECT n.nspname FROM pg_catalog.pg_extension e"
        " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'"
    )
    if not found:
        return
    check = f"SELECT {quoted(found[0][0])}.bt_index_check($1::oid::regclass)"
    for oid, schema, name in at.catalog.rows(
        "SELECT i.indexrelid::int8, n.nspname, c.relname FROM pg_catalog.pg_index i"
        " JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_catalog.pg_am m ON m.oid = c.relam AND m.amname = 'btree'"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE i.indisunique AND i.indisvalid AND i.indisready AND c.relkind = 'i'"
        " AND c.relpersistence <> 't' AND i.indexrelid >= 16384 ORDER BY 2, 3"
    ):
        at.asked.told(f"amcheck of {at.catalog.database}: {schema}.{name}")
        try:
            at.catalog.rows(check, [oid])
        except PermissionDenied as error:
            yield at.unseen(at.catalog.database, f"{error.message}; GRANT EXECUTE on it")
            return
        except (UnreadableData, QueryFailed) as error:
            yield at.warning(
                at.named(schema, name),
                f"amcheck finds the index damaged: {error.message}",
                f"REINDEX INDEX CONCURRENTLY {quoted(schema)}.{quoted(name)}, after the duplicates"
                " that it let in are repaired",
            )


RULE = Rule(name="amcheck", scope="rows", look=look)

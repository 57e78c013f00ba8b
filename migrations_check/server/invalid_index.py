"""Unique indexes that are not valid or not ready: they keep no key.

Source: https://www.postgresql.org/docs/current/sql-createindex.html (Building Indexes
Concurrently)
"""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.table import quoted

from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """List the unique indexes whose build did not come to its end."""
    rebuild = "REINDEX INDEX" + (" CONCURRENTLY" if at.catalog.major >= 12 else "")
    for schema, name, table, ready, leftover in at.catalog.rows(
        "SELECT n.nspname, c.relname, t.relname, i.indisready,"
        " c.relname ~ '_cc(new|old)[0-9]*$'"
        " FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid"
        " JOIN pg_catalog.pg_class t ON t.oid = i.indrelid"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE i.indisunique AND NOT (i.indisvalid AND i.indisready)"
        # A partitioned index is invalid while a partition has none, which is another thing.
        " AND c.relkind = 'i' AND n.nspname <> 'pg_toast' ORDER BY 1, 2"
    ):
        index = f"{quoted(schema)}.{quoted(name)}"
        what = "not valid" if ready else "not valid and not ready"
        if leftover:
            yield at.warning(
                at.named(schema, name),
                f"it is {what}: what a failed REINDEX CONCURRENTLY of {table} left; it costs"
                " writes and keeps nothing",
                f"DROP INDEX CONCURRENTLY {index}",
            )
            continue
        yield at.warning(
            at.named(schema, name),
            f"it is {what}: a build of it failed, so the key of {schema}.{table} is not kept, and"
            " an upgrade leaves the index out without a word",
            f"pgmend scan {quoted(schema)}.{quoted(table)} --index {index}, repair, and then:"
            f" {rebuild} {index}",
        )


RULE = Rule(name="invalid-index", scope="database", look=look)

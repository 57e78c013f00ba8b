"""Tables WITH OIDS, which PostgreSQL 12 does not have.

Source: https://www.postgresql.org/docs/release/12.0/
"""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.table import quoted

from .majors import note_of
from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """List the tables that have the hidden column."""
    if not at.crosses(12):
        return
    for schema, table in at.catalog.rows(
        "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c"
        " JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relhasoids AND c.oid >= 16384 ORDER BY 1, 2"
    ):
        yield at.blocker(
            at.named(schema, table),
            f"it was made WITH OIDS: pg_upgrade to 12 or later refuses it ({note_of(12)})",
            f"ALTER TABLE {quoted(schema)}.{quoted(table)} SET WITHOUT OIDS, after a column of"
            " your own took its place where the oids are used",
        )


RULE = Rule(name="oids", scope="database", look=look)

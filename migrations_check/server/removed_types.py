"""Columns of types that the target does not have, stores in another way, or cannot carry over.

Source: https://www.postgresql.org/docs/current/pgupgrade.html
"""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.table import quoted

from .majors import removed_by_name
from .rule import Look, Rule, Said

#: types that hold oids of things whose oids pg_upgrade does not keep
_REG = ("regcollation", "regconfig", "regdictionary", "regnamespace", "regoper", "regoperator",
        "regproc", "regprocedure")


def look(at: Look) -> Iterator[Said]:
    """Look for the types in stored columns, also inside of domains, arrays and composites."""
    changed = removed_by_name("types", at.catalog.major, at.target)
    crossing = at.target > at.catalog.major
    reg = [f"pg_catalog.{name}" for name in _REG] if crossing else []
    if not changed and not reg:
        return
    # Whoever stores a type also stores what it is made of, so the search goes upwards.
    for schema, table, column, name, view, plain in at.catalog.rows(
        """
        WITH RECURSIVE searched AS (
            SELECT t.oid, n.nspname || '.' || t.typname AS name
            FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
            WHERE n.nspname || '.' || t.typname = ANY ($1::text[])
            UNION
            SELECT w.oid, s.name FROM searched s JOIN (
                SELECT t.oid, t.typbasetype AS part FROM pg_catalog.pg_type t
                WHERE t.typbasetype <> 0
                UNION ALL
                SELECT t.oid, t.typelem FROM pg_catalog.pg_type t
                WHERE t.typelem <> 0 AND t.typlen = -1
                UNION ALL
                SELECT c.reltype, a.atttypid FROM pg_catalog.pg_attribute a
                JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
                WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind = 'c'
                UNION ALL
                SELECT r.rngtypid, r.rngsubtype FROM pg_catalog.pg_range r
            ) w ON w.part = s.oid
        )
        SELECT n.nspname, c.relname, a.attname, s.name, c.relkind = 'm',
               t.typbasetype = 0 AND t.typelem = 0 AND t.typtype = 'b'
        FROM searched s JOIN pg_catalog.pg_attribute a ON a.atttypid = s.oid
        JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
        JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        -- A column that is inherited changes with its parent's.
        WHERE a.attnum > 0 AND NOT a.attisdropped AND a.attinhcount = 0
          AND c.relkind IN ('r', 'm', 'p')
          AND c.oid >= 16384 AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        ORDER BY 1, 2, 3
        """,
        [[*changed, *reg]],
    ):
        entry = changed.get(name)
        where = f"{quoted(schema)}.{quoted(table)}"
        becomes = entry.facts["becomes"] if entry and plain else "text"
        remedy = (
            f"Make it anew with a column of another type, after: DROP MATERIALIZED VIEW {where}"
            if view else
            f"ALTER TABLE {where} ALTER COLUMN {quoted(column)} TYPE"
            f" {becomes.format(column=quoted(column))}"
        )
        if entry is None:
            yield at.blocker(
                at.named(schema, table, column),
                f"it stores {name}, a number of the system that pg_upgrade does not keep and so"
                " refuses; a dump and restore carries it over",
                remedy,
            )
            continue
        yield at.blocker(
            at.named(schema, table, column),
            f"it stores {name}: in PostgreSQL {entry.major} {entry.facts['why']} ({entry.note})",
            remedy,
        )


RULE = Rule(name="removed-types", scope="database", look=look)

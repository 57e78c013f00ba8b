"""Functions that set what the target does not know: they cannot be made there."""

from __future__ import annotations

from collections.abc import Iterator

from .majors import removed_by_name
from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Look at the SET clauses of functions."""
    gone = removed_by_name("settings", at.catalog.major, at.target)
    if not gone:
        return
    for schema, function, name in at.catalog.rows(
        "SELECT n.nspname, p.oid::regprocedure::text, pg_catalog.split_part(c.text, '=', 1)"
        " FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
        " CROSS JOIN LATERAL pg_catalog.unnest(p.proconfig) c (text)"
        " WHERE pg_catalog.split_part(c.text, '=', 1) = ANY ($1::text[]) ORDER BY 1, 2",
        [list(gone)],
    ):
        yield at.blocker(
            f"{at.catalog.database}/{function}",
            f"it sets {name} while it runs, which PostgreSQL {gone[name].major} does not know"
            f" ({gone[name].note}), so that it cannot be made there in the schema {schema}",
            f"ALTER FUNCTION {function} RESET {name}",
        )


RULE = Rule(name="function-settings", scope="database", look=look)

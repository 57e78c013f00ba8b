"""Functions that set what the target does not know: they cannot be made there, or fail.

Source: https://www.postgresql.org/docs/current/sql-createfunction.html (SET)
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .bodies import bodies
from .majors import Settings, removed_by_name
from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Look at the SET clauses of functions, and for statements about settings in their bodies."""
    yield from _clauses(at)
    yield from _statements(at)


def _clauses(at: Look) -> Iterator[Said]:
    settings = Settings(at.catalog.major, at.target)
    if not settings.names:
        return
    # Before 11 there are no procedures, and no ROUTINE that stands for both.
    kind = "ROUTINE" if at.catalog.major >= 11 else "FUNCTION"
    for schema, function, name, value in at.catalog.rows(
        "SELECT n.nspname, p.oid::regprocedure::text, pg_catalog.split_part(c.text, '=', 1),"
        " pg_catalog.substr(c.text, pg_catalog.strpos(c.text, '=') + 1)"
        " FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
        " CROSS JOIN LATERAL pg_catalog.unnest(p.proconfig) c (text)"
        " WHERE pg_catalog.split_part(c.text, '=', 1) = ANY ($1::text[]) ORDER BY 1, 2",
        [settings.names],
    ):
        if refused := settings.refused(name, value):
            yield at.blocker(
                f"{at.catalog.database}/{function}",
                f"it sets {name} while it runs, and {refused[1]}, so that it cannot be made there"
                f" in the schema {schema}",
                f"ALTER {kind} {function} RESET {name}",
            )


def _statements(at: Look) -> Iterator[Said]:
    gone = removed_by_name("settings", 0, at.target)
    for body in bodies(at.catalog, list(gone)):
        for name, entry in gone.items():
            already = entry.major <= at.catalog.major
            if (already and body.by_version) or not _uses(name, body.code):
                continue
            fails = "fails already" if already else "will fail"
            yield at.warning(
                at.named(body.schema, f"{body.name}()"),
                f"the function's body uses the setting {name}, which PostgreSQL {entry.major} does"
                f" not know ({entry.note}): it {fails} when it is called",
                f"Take it out; in its place: {entry.facts['instead']}",
            )


def _uses(name: str, code: str) -> bool:
    """Whether code sets a setting, or reads it so that it must be there."""
    return re.search(
        rf"\bset\s+(?:local\s+|session\s+)?{name}\s*(?:=|\bto\b)|\b(?:show|reset)\s+{name}\b"
        rf"|\bset_config\s*\(\s*'{name}'|\bcurrent_setting\s*\(\s*'{name}'\s*\)",
        code, re.IGNORECASE,
    ) is not None


RULE = Rule(name="function-settings", scope="database", look=look)

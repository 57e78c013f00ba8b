"""Settings that the target does not know, where they are set.

Sources: https://www.postgresql.org/docs/current/view-pg-file-settings.html,
https://www.postgresql.org/docs/current/catalog-pg-db-role-setting.html
"""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.errors import PermissionDenied
from dedupe.table import quoted

from .majors import Settings
from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Look into the configuration files, and at what is set for databases and roles."""
    settings = Settings(at.catalog.major, at.target)
    if not settings.names:
        return
    for database, role, name, value in at.catalog.rows(
        "SELECT d.datname, r.rolname, pg_catalog.split_part(c.text, '=', 1),"
        " pg_catalog.substr(c.text, pg_catalog.strpos(c.text, '=') + 1)"
        " FROM pg_catalog.pg_db_role_setting s"
        " CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) c (text)"
        " LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase"
        " LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole"
        " WHERE pg_catalog.split_part(c.text, '=', 1) = ANY ($1::text[]) ORDER BY 3, 1, 2",
        [settings.names],
    ):
        refused = settings.refused(name, value)
        if refused is None:
            continue
        yield at.blocker(
            f"{name} of {_whose(database, role)}",
            f"{refused[1]}, so that restoring the cluster's roles and databases fails at it",
            f"ALTER {_whose(database and quoted(database), role and quoted(role))} RESET {name}",
        )
    try:
        files = at.catalog.rows(
            "SELECT sourcefile, sourceline, name, coalesce(setting, '')"
            " FROM pg_catalog.pg_file_settings WHERE name = ANY ($1::text[]) ORDER BY 1, 2",
            [settings.names],
        )
    except PermissionDenied:
        yield at.unseen(
            "configuration files",
            "this role may not read pg_file_settings; a superuser may, or who has the grant",
        )
        return
    for file, line, name, value in files:
        refused = settings.refused(name, value)
        if refused is None:
            continue
        yield at.warning(
            f"{file}:{line}",
            f"it sets {name}, and {refused[1]}: a server that is given this file does not start",
            "Take it out of the new cluster's file; in its place:"
            f" {refused[0].facts['instead']}",
        )


def _whose(database: str | None, role: str | None) -> str:
    """Name whose setting it is, as ALTER does."""
    if role is None:
        return f"DATABASE {database}" if database else "ROLE ALL"
    return f"ROLE {role}" + (f" IN DATABASE {database}" if database else "")


RULE = Rule(name="removed-settings", scope="cluster", look=look)

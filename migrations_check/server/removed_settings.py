"""Settings that the target does not know, where they are set.

Sources: https://www.postgresql.org/docs/current/view-pg-file-settings.html,
https://www.postgresql.org/docs/current/catalog-pg-db-role-setting.html
"""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.errors import PermissionDenied

from .majors import removed_by_name
from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Look into the configuration files, and at what is set for databases and roles."""
    gone = removed_by_name("settings", at.catalog.major, at.target)
    if not gone:
        return
    for database, role, name in at.catalog.rows(
        "SELECT coalesce(d.datname, ''), coalesce(r.rolname, ''),"
        " pg_catalog.split_part(c.text, '=', 1)"
        " FROM pg_catalog.pg_db_role_setting s"
        " CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) c (text)"
        " LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase"
        " LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole"
        " WHERE pg_catalog.split_part(c.text, '=', 1) = ANY ($1::text[]) ORDER BY 3, 1, 2",
        [list(gone)],
    ):
        entry = gone[name]
        words = [f"ROLE {role}"] if role else [f"DATABASE {database}"]
        if role and database:
            words.append(f"IN DATABASE {database}")
        whose = " ".join(words)
        yield at.blocker(
            f"{name} of {whose}",
            f"PostgreSQL {entry.major} does not know the setting ({entry.note}), so that restoring"
            " the cluster's roles and databases fails at it",
            f"ALTER {whose} RESET {name}",
        )
    try:
        files = at.catalog.rows(
            "SELECT sourcefile, sourceline, name FROM pg_catalog.pg_file_settings"
            " WHERE name = ANY ($1::text[]) ORDER BY 1, 2",
            [list(gone)],
        )
    except PermissionDenied:
        yield at.unseen(
            "configuration files",
            "this role may not read pg_file_settings; a superuser may, or who has the grant",
        )
        return
    for file, line, name in files:
        entry = gone[name]
        yield at.warning(
            f"{file}:{line}",
            f"it sets {name}, which PostgreSQL {entry.major} does not know ({entry.note}): a"
            " server that is given this file does not start",
            f"Take it out of the new cluster's file; in its place: {entry.facts['instead']}",
        )


RULE = Rule(name="removed-settings", scope="cluster", look=look)

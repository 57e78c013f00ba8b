"""Tablespaces inside of the data directory.

Source: https://www.postgresql.org/docs/current/pgupgrade.html
"""

from __future__ import annotations

from collections.abc import Iterator

from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Compare where tablespaces lie with where the data directory is."""
    spaces = at.catalog.rows(
        "SELECT spcname, pg_catalog.pg_tablespace_location(oid) FROM pg_catalog.pg_tablespace"
        " WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY 1"
    )
    if not spaces:
        return
    rows = at.catalog.rows(
        "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'"
    )
    data = rows[0][0] if rows else None
    for name, location in spaces:
        if not location.startswith("/"):
            yield at.blocker(
                name,
                "the tablespace was made in place, inside of the data directory, and pg_upgrade"
                " does not take such ones",
                "Move its tables: ALTER TABLE ALL IN TABLESPACE … SET TABLESPACE pg_default",
            )
        elif data is None:
            yield at.unseen(
                name,
                f"whether {location} is inside of the data directory is not known: this role may"
                " not read data_directory; pg_read_all_settings may",
            )
        elif f"{location}/".startswith(f"{data.rstrip('/')}/"):
            yield at.warning(
                name,
                f"the tablespace lies in {location}, inside of the data directory: whoever deletes"
                " the old cluster after an upgrade deletes what the new one uses",
                "Move it to a directory of its own before the upgrade",
            )


RULE = Rule(name="tablespaces", scope="cluster", look=look)

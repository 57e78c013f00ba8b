"""Tablespaces inside of the data directory.

Source: https://www.postgresql.org/docs/current/pgupgrade.html
"""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.table import quoted

from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Compare where tablespaces lie with where the data directory is."""
    spaces = at.catalog.rows(
        "SELECT t.spcname, pg_catalog.pg_tablespace_location(t.oid),"
        " ARRAY(SELECT d.datname FROM pg_catalog.pg_database d"
        " WHERE d.dattablespace = t.oid ORDER BY 1),"
        " ARRAY(SELECT d.datname FROM pg_catalog.pg_tablespace_databases(t.oid) o (oid)"
        " JOIN pg_catalog.pg_database d ON d.oid = o.oid"
        " WHERE d.dattablespace <> t.oid ORDER BY 1)"
        " FROM pg_catalog.pg_tablespace t"
        " WHERE t.spcname NOT IN ('pg_default', 'pg_global') ORDER BY 1"
    )
    if not spaces:
        return
    rows = at.catalog.rows(
        "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'"
    )
    data = rows[0][0] if rows else None
    for name, location, homes, users in spaces:
        if not location.startswith("/"):
            yield at.blocker(
                name,
                "the tablespace was made in place, inside of the data directory, and pg_upgrade"
                " does not take such ones",
                _emptied(name, homes, users),
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
                f"{_emptied(name, homes, users)}; or the same with another tablespace in place of"
                " pg_default",
            )


def _emptied(name: str, homes: list[str], users: list[str]) -> str:
    """Say how everything is moved out of a tablespace, so that it can be dropped."""
    space = quoted(name)
    steps = [f"ALTER DATABASE {quoted(home)} SET TABLESPACE pg_default" for home in homes]
    if users:
        steps.append(
            f"in {', '.join(users)}: "
            + "; ".join(
                f"ALTER {kind} ALL IN TABLESPACE {space} SET TABLESPACE pg_default"
                for kind in ("TABLE", "INDEX", "MATERIALIZED VIEW")
            )
        )
    steps.append(f"DROP TABLESPACE {space}")
    return "; ".join(steps)


RULE = Rule(name="tablespaces", scope="cluster", look=look)

"""Databases that pg_upgrade cannot carry over, whatever is in them.

Source: https://www.postgresql.org/docs/current/pgupgrade.html
"""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.table import quoted

from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """Read which databases may be connected to."""
    for name, allowed, limit in at.catalog.rows(
        "SELECT datname, datallowconn, datconnlimit FROM pg_catalog.pg_database ORDER BY 1"
    ):
        if limit == -2:
            yield at.blocker(
                name, "DROP DATABASE was interrupted, and what is left of it stops pg_upgrade",
                f"DROP DATABASE {quoted(name)}",
            )
        elif name == "template0":
            if allowed:
                yield at.blocker(
                    name, "it allows connections, and pg_upgrade refuses such a cluster",
                    "ALTER DATABASE template0 ALLOW_CONNECTIONS false",
                )
        elif not allowed:
            yield at.blocker(
                name, "it allows no connections: pg_upgrade refuses, and a dump leaves it out",
                f"ALTER DATABASE {quoted(name)} ALLOW_CONNECTIONS true",
            )


RULE = Rule(name="databases", scope="cluster", look=look)

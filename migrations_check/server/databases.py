"""Databases that pg_upgrade cannot carry over, whatever is in them.

Source: https://www.postgresql.org/docs/current/pgupgrade.html
"""

from __future__ import annotations

from collections.abc import Iterator

from dedupe.table import quoted

from .rule import Look, Rule, Said

#: what pg_upgrade connects to or reads of, and how it is made again
_NEEDED = {
    "template0": "CREATE DATABASE template0 TEMPLATE template1 ALLOW_CONNECTIONS false"
    " IS_TEMPLATE true",
    "template1": "CREATE DATABASE template1 TEMPLATE template0 IS_TEMPLATE true",
}


def look(at: Look) -> Iterator[Said]:
    """Read which databases there are, and which may be connected to."""
    rows = at.catalog.rows(
        "SELECT datname, datallowconn, datconnlimit FROM pg_catalog.pg_database ORDER BY 1"
    )
    for name, allowed, limit in rows:
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
    for name in sorted(_NEEDED.keys() - {row[0] for row in rows}):
        yield at.blocker(name, "it was dropped, and pg_upgrade cannot go on without it",
                         _NEEDED[name])


RULE = Rule(name="databases", scope="cluster", look=look)

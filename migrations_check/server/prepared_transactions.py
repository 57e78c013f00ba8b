"""Prepared transactions, which pg_upgrade refuses and a dump does not see.

Source: https://www.postgresql.org/docs/current/view-pg-prepared-xacts.html
"""

from __future__ import annotations

from collections.abc import Iterator

from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """List the transactions that wait for their second phase."""
    for gid, database, prepared in at.catalog.rows(
        "SELECT gid, database, prepared::text FROM pg_catalog.pg_prepared_xacts ORDER BY prepared"
    ):
        name = gid.replace("'", "''")
        yield at.blocker(
            f"{database}/{gid}",
            f"a transaction is prepared since {prepared}: pg_upgrade refuses, and a dump leaves"
            " out what it did",
            f"COMMIT PREPARED '{name}' or ROLLBACK PREPARED '{name}', in that database",
        )


RULE = Rule(name="prepared-transactions", scope="cluster", look=look)

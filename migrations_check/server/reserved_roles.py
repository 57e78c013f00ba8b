"""Roles whose names are the system's own.

Source: https://www.postgresql.org/docs/current/predefined-roles.html
"""

from __future__ import annotations

from collections.abc import Iterator

from .rule import Look, Rule, Said


def look(at: Look) -> Iterator[Said]:
    """List the roles of users that begin with pg_."""
    for (name,) in at.catalog.rows(
        "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname ~ '^pg_' AND oid >= 16384"
        " ORDER BY 1"
    ):
        literal = name.replace("'", "''")
        yield at.blocker(
            name,
            "names of roles that begin with pg_ are the system's: pg_upgrade refuses the role, and"
            " a restore cannot make it",
            # ALTER ROLE refuses such a name as well.
            "As a superuser, and with a new password for it if it has one: UPDATE pg_authid SET"
            f" rolname = 'was_{literal}' WHERE rolname = '{literal}'",
        )


RULE = Rule(name="reserved-roles", scope="cluster", look=look)

"""Databases of applications, as far as a check looks at them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from dedupe.lab import Server
from migrations_check import AppAsked, Migrated, check_mastodon
from migrations_check.releases.data import releases

from .servers import run


@dataclass(frozen=True)
class Instance:
    """A fresh database of a server, and the check of the Mastodon in it."""

    server: Server
    dbname: str
    where: Path

    @property
    def dsn(self) -> str:
        return self.server.dsn(self.dbname)

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        return run(self.dsn, *statements)

    def ran(self, versions: Iterable[str], schema: str = "public") -> None:
        """Have these migrations recorded, and no others."""
        table = sql.Identifier(schema, "schema_migrations")
        with psycopg.connect(self.dsn, cursor_factory=psycopg.RawCursor) as connection:
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(
                sql.Identifier(schema)))
            connection.execute(sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} (version varchar PRIMARY KEY)").format(table))
            connection.execute(sql.SQL("DELETE FROM {}").format(table))
            connection.execute(
                sql.SQL("INSERT INTO {} SELECT unnest($1::text[])").format(table),
                [list(versions)],
            )

    def check(self, to: str, **asked: Any) -> Migrated:
        """Check it, by default with its rows."""
        return check_mastodon(self.dsn, to, AppAsked(**{"run": self.where / "keys", **asked}))

    def told(self, to: str, rule: str, **asked: Any) -> list[tuple[str, str, str]]:
        """Return severity, object and message of what one rule found."""
        return [(one.severity, one.object, one.message)
                for one in self.check(to, **asked).report.findings if one.rule == rule]


def migrations(first: str) -> frozenset[str]:
    """Return the migrations of a release."""
    return next(one.versions for one in releases() if one.first == first)

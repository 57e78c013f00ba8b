"""A session that reads the catalogs of a server of PostgreSQL 10 or later.

The library's own sessions begin with 14, because they read tables; catalogs can be read
before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dedupe.driver_errors import translated
from dedupe.errors import UnsupportedServer
from dedupe.session import set_statement

OLDEST = 10
#: nothing is written, names mean what they say, and no lock is waited for long
_PINNED = {
    "default_transaction_read_only": "on",
    "search_path": "",
    "statement_timeout": "0",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "0",
    "quote_all_identifiers": "off",
    "DateStyle": "ISO, YMD",
    "TimeZone": "UTC",
}


class Catalog:
    """One backend that reads catalogs; use as a context manager."""

    def __init__(self, conninfo: str, dbname: str | None = None) -> None:
        """Connect, to another database of the same server if ``dbname`` is given.

        Raises ConnectionSettingsError, ServerUnavailable, UnknownObject, PermissionDenied,
        UnsupportedServer.
        """
        #: how to connect to this database; holds the password if one was given
        self.conninfo = make_conninfo(conninfo, **({"dbname": dbname} if dbname else {}))
        settings: dict[str, Any] = conninfo_to_dict(self.conninfo)
        settings.setdefault("connect_timeout", "10")
        with translated():
            self._connection = psycopg.connect(
                **settings, autocommit=True, cursor_factory=psycopg.RawCursor
            )
        info = self._connection.info
        #: server_version_num
        self.version: int = info.server_version
        self.major = self.version // 10000
        self.database = info.dbname
        self.superuser = info.parameter_status("is_superuser") == "on"
        #: host name, address or socket directory
        self.host = info.host or ""
        #: statements that were run
        self.asked = 0
        if self.major < OLDEST:
            self.close()
            raise UnsupportedServer(
                f"the server runs PostgreSQL {self.version // 10000}."
                f"{self.version // 100 % 100}; the checks need {OLDEST} or later",
                hint="Restore a copy into PostgreSQL 14 or later (pg_dumpall of that version reads"
                " this server) and check that; pg_upgrade --check of the target looks at this one.",
                version=self.version,
            )
        ascii_only = info.parameter_status("server_encoding") == "SQL_ASCII"
        with translated():
            # To a client that speaks UTF-8 such a database refuses to send what is not.
            self._connection.execute(
                f"SET client_encoding = '{'LATIN1' if ascii_only else 'UTF8'}'"
            )
            self._connection.execute(
                set_statement({**_PINNED, "application_name": "pgmend check"}, local=False)
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def rows(self, query: str, params: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Run one statement with ``$1`` parameters and return its rows; raises our errors."""
        self.asked += 1
        with translated():
            return self._connection.execute(query.encode(), list(params) or None).fetchall()

    def value(self, query: str, params: Sequence[object] = ()) -> Any:
        """Run one statement that returns one value."""
        ((value,),) = self.rows(query, params)
        return value

    def setting(self, name: str) -> str | None:
        """Return a setting, or None where the server has none of that name."""
        found: str | None = self.value(
            "SELECT pg_catalog.current_setting($1::text, true)", [name]
        )
        return found

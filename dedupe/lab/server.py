"""A real PostgreSQL server for demos, tests and benchmarks, gone when its owner is.

``server()`` starts one from whatever programs there are, in a directory of its
own, reachable by a socket in that directory only. PGMEND_LAB_DSN names a server
that runs already and is used instead.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ..errors import LabError
from ..table import quoted
from . import binaries, home, keeper
from .held import PORT, SUPERUSER, Held


class Server:
    """A server to connect to and, where it is ours, to stop and start.

    ``host`` is the directory of its socket for a server of ours. ``data`` and
    ``bindir`` are None for a server that PGMEND_LAB_DSN names. The attributes
    are also those that pytest-postgresql reads off the fixture it depends on.
    """

    password: str | None = None
    options = ""
    maintenance_dbname = "postgres"
    template_dbname: str | None = None

    def __init__(self, dsn: str, *, held: Held | None = None) -> None:
        self._dsn = dsn
        self._held = held
        self.data: Path | None = held.home.data if held else None
        self.bindir: Path | None = held.bindir if held else None
        if held:
            self.start()
        try:
            with psycopg.connect(self.dsn(), autocommit=True) as connection:
                info = connection.info
                self.host, self.port, self.user = info.host, info.port, info.user
                self.password = info.password or None
                self.version: int = info.server_version
                if info.parameter_status("is_superuser") != "on":
                    raise LabError(
                        f"the role {info.user} of PGMEND_LAB_DSN is not a superuser",
                        hint="Damage is done in the catalogs; name a server that may be ruined.",
                    )
                self.icu = _icu(connection)
        except psycopg.Error as error:
            raise LabError(
                f"the server cannot be used: {str(error).strip()}",
                hint="PGMEND_LAB_DSN must name a running server." if held is None else None,
            ) from error

    def dsn(self, dbname: str = "postgres") -> str:
        """Return a libpq connection string for a database."""
        return make_conninfo(self._dsn, dbname=dbname)

    def url(self, dbname: str = "postgres") -> str:
        """Return the same as a ``postgresql://`` URL, without a password."""
        return (
            f"postgresql://{quote(self.user, safe='')}@/{quote(dbname, safe='')}"
            f"?host={quote(self.host, safe='')}&port={self.port}"
        )

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, as a copy of ``template`` if given; return its connection string."""
        suffix = f" TEMPLATE {quoted(template)}" if template is not None else ""
        self._administer(f"CREATE DATABASE {quoted(name)}{suffix}")
        return self.dsn(name)

    def drop_database(self, name: str) -> None:
        """Drop a database if it exists; its sessions are ended."""
        self._administer(f"DROP DATABASE IF EXISTS {quoted(name)} WITH (FORCE)")

    @property
    def pid(self) -> int | None:
        """The postmaster's process; None when it is down or not ours."""
        return self._held.pid if self._held else None

    @property
    def running(self) -> bool:
        """Whether the postmaster lives; a named server is taken to."""
        return self._held is None or self._held.code() is None

    def start(self) -> None:
        """Start the server and wait until it takes connections; nothing if it runs.

        After a crash or ``stop("immediate")`` it recovers. Raises LabError.
        """
        held = self._ours()
        if not self.running:
            held.start()

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server and wait for its end; ``immediate`` is a crash. Raises LabError."""
        held = self._ours()
        if self.running:
            held.stop(signal.SIGINT if mode == "fast" else signal.SIGQUIT)

    def _ours(self) -> Held:
        if self._held is None:
            raise LabError(
                "the server that PGMEND_LAB_DSN names is neither started nor stopped from here",
                hint="Unset PGMEND_LAB_DSN to have a server of its own.",
            )
        return self._held

    def _administer(self, statement: str) -> None:
        try:
            with psycopg.connect(self.dsn(), autocommit=True) as connection:
                connection.execute(statement)
        except psycopg.Error as error:
            raise LabError(f"{statement} failed: {str(error).strip()}") from error


def _icu(connection: psycopg.Connection[Any]) -> bool:
    """Try it: the catalogs list ICU collations in builds without ICU, too."""
    try:
        connection.execute("CREATE COLLATION pg_temp.pgmend_icu (provider = icu, locale = 'und')")
    except psycopg.errors.FeatureNotSupported:
        return False
    return True


@contextmanager
def server(
    *, settings: Mapping[str, str] | None = None, bindir: Path | None = None
) -> Iterator[Server]:
    """Give a server; at the end it is stopped and everything it wrote is removed.

    ``settings`` are PostgreSQL's own, on top of SETTINGS. Without ``bindir``,
    PGMEND_LAB_DSN names a server to use instead; it takes no settings.
    Raises LabError.
    """
    named = os.environ.get("PGMEND_LAB_DSN")
    if named and bindir is None:
        if settings:
            raise LabError(
                "the server that PGMEND_LAB_DSN names takes no settings from here",
                hint="Unset PGMEND_LAB_DSN to have a server of its own.",
            )
        conninfo_to_dict(named)
        yield Server(named)
        return
    found = binaries.find(bindir)
    by = binaries.account()
    home.sweep(by)
    where = home.make(by, f".s.PGSQL.{PORT}.lock")
    held: Held | None = None
    try:
        held = Held(where, binaries.usable(found, by, where.root / "install"), by, settings or {})
        held.initialize()
        dsn = make_conninfo(host=str(where.root), port=PORT, user=SUPERUSER)
        yield Server(dsn, held=held)
    finally:
        if held is not None:
            held.close()
        else:
            keeper.remove(where.root)
            os.close(where.claim)

"""The server's processes that serve one database, looked at while they work.

Counted is RssAnon: memory of a process's own, without shared buffers, which hold pages
for everybody. It is there for a server on this machine only.

Source: proc(5) (RssAnon)
"""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg

from .processes import LOOK_SECONDS, memory

_SESSIONS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    " AND backend_type IN ('client backend', 'parallel worker') AND application_name <> %s"
)


class Backends(threading.Thread):
    """Adds up the private memory of a database's sessions until it is stopped."""

    def __init__(self, dsn: str, own_name: str) -> None:
        super().__init__(name="backends", daemon=True)
        self._dsn = dsn
        self._own_name = own_name
        self._ended = threading.Event()
        #: most bytes at one moment; None where the server is not on this machine
        self.private_bytes: int | None = None

    def run(self) -> None:
        """Look until ``stop``."""
        try:
            with psycopg.connect(
                self._dsn, autocommit=True, application_name=self._own_name
            ) as connection:
                if not _is_here(connection):
                    return
                self.private_bytes = 0
                while not self._ended.wait(LOOK_SECONDS):
                    rows = connection.execute(_SESSIONS, [self._own_name]).fetchall()
                    held = sum(memory(pid).get("RssAnon", 0) for (pid,) in rows)
                    self.private_bytes = max(self.private_bytes, held)
        except psycopg.Error:
            self.private_bytes = None

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()


def end_sessions(dsn: str, own_name: str) -> None:
    """End what the sessions of a killed client still do: a backend may not notice for long."""
    with psycopg.connect(dsn, autocommit=True, application_name=own_name) as connection:
        for (pid,) in connection.execute(_SESSIONS, [own_name]).fetchall():
            connection.execute("SELECT pg_terminate_backend(%s)", [pid])


def _is_here(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    """Say whether the session's process is one of this machine, under the same number."""
    if not connection.info.host.startswith("/"):
        return False
    try:
        name = Path(f"/proc/{connection.info.backend_pid}/comm").read_text("utf-8")
    except OSError:
        return False
    return name.strip().startswith("postgres")

"""What a running server says of its cluster: what a snapshot of it has to cover."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dedupe.connect import Database, connect


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseSize:
    """A database of the cluster and its bytes on disk; None where the role may not see them."""

    name: str
    size: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A cluster, as it was when it was asked."""

    #: libpq connection string without a secret, of the database that was connected to
    conninfo: str
    system_identifier: int
    timeline: int
    #: position of the write-ahead log: written on a primary, replayed on a standby
    lsn: str
    #: server_version_num, such as 180006
    version: int
    standby: bool
    #: the server's clock, with a time zone
    now: datetime
    databases: tuple[DatabaseSize, ...]
    #: data_directory; None where the role may not see it
    data_directory: Path | None
    #: where tablespaces other than the data directory's lie; None where it cannot be seen
    tablespaces: tuple[Path, ...] | None
    fsync: bool
    full_page_writes: bool

    @property
    def major(self) -> int:
        """The major version, such as 18."""
        return self.version // 10000

    @classmethod
    def of(cls, database: Database) -> Cluster:
        """Ask the server, in one session; reads catalogs only and takes no lock on tables.

        Raises what ``Database.open`` raises, and PermissionDenied where the role may not
        call ``pg_control_system()``.
        Source: https://www.postgresql.org/docs/current/functions-info.html
        """
        with database.open("pgmend guard") as session, session.transaction():
            # The position first: all that is told beside it was so by then, or later.
            identifier, timeline, lsn, now = session.row(
                "SELECT system_identifier, CASE WHEN pg_catalog.pg_is_in_recovery()"
                " THEN greatest(c.timeline_id, r.min_recovery_end_timeline)"
                " ELSE ('x' || pg_catalog.left(pg_catalog.pg_walfile_name("
                "pg_catalog.pg_current_wal_lsn()), 8))::bit(32)::int END,"
                " CASE WHEN pg_catalog.pg_is_in_recovery()"
                " THEN pg_catalog.pg_last_wal_replay_lsn()"
                " ELSE pg_catalog.pg_current_wal_lsn() END::text, pg_catalog.clock_timestamp()"
                " FROM pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c,"
                " pg_catalog.pg_control_recovery() r"
            )
            sizes = session.rows(
                "SELECT datname, CASE WHEN pg_catalog.has_database_privilege(oid, 'CONNECT')"
                " OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')"
                " THEN pg_catalog.pg_database_size(oid) END"
                " FROM pg_catalog.pg_database WHERE datallowconn ORDER BY datname"
            )
            settings = dict(
                session.rows(
                    "SELECT name, setting FROM pg_catalog.pg_settings"
                    " WHERE name IN ('data_directory', 'fsync', 'full_page_writes')"
                )
            )
            spaces = session.rows(
                "SELECT pg_catalog.pg_tablespace_location(oid) FROM pg_catalog.pg_tablespace"
                " WHERE spcname NOT IN ('pg_default', 'pg_global') ORDER BY oid"
            )
            data = Path(settings["data_directory"]) if "data_directory" in settings else None
            return cls(
                conninfo=_portable(database.where.conninfo()),
                system_identifier=identifier,
                timeline=timeline,
                lsn=lsn,
                version=session.version,
                standby=session.standby,
                now=now,
                databases=tuple(DatabaseSize(name=name, size=size) for name, size in sizes),
                data_directory=data,
                tablespaces=_places([text for (text,) in spaces], data),
                fsync=settings["fsync"] == "on",
                full_page_writes=settings["full_page_writes"] == "on",
            )


def position(lsn: str) -> int:
    """Return a position of the write-ahead log as a number, to compare. Raises ValueError."""
    high, _, low = lsn.partition("/")
    return int(high, 16) << 32 | int(low, 16)


def beside(database: Database, dbname: str) -> Database:
    """Connect to another database of the same server, as the same role.

    Raises what ``connect`` raises.
    """
    return connect(make_conninfo(database.where.conninfo(), **_secret(database), dbname=dbname))


def environment(database: Database | None) -> dict[str, str]:
    """Return the environment for programs that connect to the server.

    A password that was said with the target goes there, and never onto a command line.
    """
    secret = _secret(database) if database else {}
    return {
        **os.environ,
        **({"PGPASSWORD": secret["password"]} if secret else {}),
        "PGAPPNAME": "pgmend guard",
        "PGCONNECT_TIMEOUT": os.environ.get("PGCONNECT_TIMEOUT", "10"),
    }


def _portable(conninfo: str) -> str:
    """Leave out what the driver's libpq says of itself and that of an older program refuses."""
    known = {key: str(value) for key, value in conninfo_to_dict(conninfo).items()}
    if known.get("sslcertmode") == "allow":
        del known["sslcertmode"]
    return make_conninfo("", **known)


def _secret(database: Database) -> dict[str, str]:
    with database.open("pgmend guard") as session:
        password = session.connection.info.password
    return {"password": password} if password else {}


def _places(texts: list[str], data: Path | None) -> tuple[Path, ...] | None:
    """Return where tablespaces lie; those inside the data directory are told relative to it."""
    places = [Path(text) for text in texts]
    if any(not place.is_absolute() for place in places):
        if data is None:
            return None
        places = [data / place for place in places]
    return tuple(places)

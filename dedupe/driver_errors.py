"""The driver's errors become ours here and nowhere else.

Source: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from .errors import (
    ConnectionSettingsError,
    DedupeError,
    FailureError,
    LockNotAvailable,
    PermissionDenied,
    QueryFailed,
    ServerUnavailable,
    UnknownObject,
    UnreadableData,
)

#: what the error of any command may end with: not every one has a directory to go on in
_AGAIN = "Then give the same command again; a scan, a plan or a repair goes on where it stopped."
#: statement that shows who may be in the way
_HOLDERS = (
    "SELECT pid, relation::regclass, mode, state, query FROM pg_locks JOIN pg_stat_activity"
    " USING (pid) WHERE granted AND mode ~ 'Exclusive|RowShare' AND relation > 16383;"
)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into ours, the driver's kept as the cause."""
    try:
        yield
    except psycopg.Error as error:
        raise _translation(error) from error


def _translation(error: psycopg.Error) -> DedupeError:
    state = error.sqlstate or ""
    words = (error.diag.message_primary or str(error)).strip()
    facts: dict[str, Any] = {"sqlstate": state or None}
    if state.startswith("XX"):
        return UnreadableData(f"the server found damaged data: {words}", **facts)
    if state == "42501":
        return PermissionDenied(words, hint="Connect as a role that has the right.", **facts)
    if state == "3D000" or re.search(r'database ".*" does not exist', words):
        return UnknownObject(words, hint="List the databases with: psql -l", kind="database")
    if state.startswith("28") or re.search(
        r"authentication failed|no password supplied|no pg_hba.conf entry|role .* does not exist",
        words,
    ):
        return ConnectionSettingsError(
            words, hint="Check user, password (PGPASSWORD, ~/.pgpass) and pg_hba.conf.", **facts
        )
    if state == "55P03":
        return LockNotAvailable(
            f"a lock could not be had in time: {words}",
            hint=f"Another session holds a table or its rows: {_HOLDERS} Wait for it, or end"
            f" it (pg_terminate_backend). {_AGAIN}",
            **facts,
        )
    if state == "53100":
        return FailureError(f"the server's disk is full: {words}", **facts)
    if state == "40001":
        return ServerUnavailable(
            f"the standby gave replaying precedence over the read: {words}",
            hint="Set hot_standby_feedback = on or a longer max_standby_streaming_delay on the"
            f" standby, or scan the primary. {_AGAIN}",
            **facts,
        )
    gone = state[:2] == "08" or state in {"57P01", "57P02", "57P03", "53300", "57P05"}
    if gone or (not state and isinstance(error, psycopg.OperationalError)):
        return ServerUnavailable(
            f"the server cannot be reached or went away: {words}",
            hint=f"Start the server or mend the connection settings. {_AGAIN}",
            **facts,
        )
    return QueryFailed(
        f"the server refused a statement: {words} (SQLSTATE {state})",
        hint=f"The statement was cancelled. {_AGAIN}" if state == "57014" else None,
        **facts,
    )

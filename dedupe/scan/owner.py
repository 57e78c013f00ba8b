"""Ownership: one client works on a run, and what an earlier one left on the server ends first.

The lock is the kernel's (flock) on a file of the run directory, so it is gone
with the process, however that ended.

Source: https://www.postgresql.org/docs/current/monitoring-stats.html (pg_stat_activity)
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import LocalStorageError, RunInUse
from ..session import Session

LOCK_FILE = "lock"
#: seconds that a look at the lock by another process is waited for
_LOCK_SECONDS = 0.5
#: seconds that the server is given to notice that a client was killed
_LEFTOVER_SECONDS = 5.0


@contextmanager
def owned(
    directory: Path, *, hint: str = "Wait for it or stop it; pgmend status tells how far it is."
) -> Iterator[None]:
    """Own a run directory for the block.

    Raises RunInUse, with that hint, while another process owns it, LocalStorageError.
    """
    path = directory / LOCK_FILE
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LocalStorageError(
            f"cannot write {path}: {error.strerror}",
            hint="Mend the directory or name another one with --run.",
            path=path,
        ) from error
    try:
        end = time.monotonic() + _LOCK_SECONDS
        while not _locked(handle, fcntl.LOCK_EX):
            if time.monotonic() > end:
                raise RunInUse(
                    f"another process works on {directory}",
                    hint=hint,
                    path=directory,
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def is_owned(directory: Path) -> bool:
    """Tell whether some process works on the run."""
    try:
        handle = os.open(directory / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _locked(handle, fcntl.LOCK_SH)
    finally:
        os.close(handle)


def _locked(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def end_leftovers(
    session: Session, name: str, tell: Callable[[str], None], stopped: Callable[[], bool]
) -> None:
    """Wait for backends of an earlier client of this run to end, then end them.

    They are known by ``name``, their application_name, and by the role; another
    role's cannot be seen. Only reading sessions of pgmend have such a name.
    Returns early when ``stopped``, which is asked about ten times a second, says so.
    """
    end = time.monotonic() + _LEFTOVER_SECONDS
    told = False
    while True:
        left = session.rows(
            "SELECT pid FROM pg_catalog.pg_stat_activity"
            " WHERE application_name = $1::text AND pid <> pg_catalog.pg_backend_pid()"
            " AND usename = current_user",
            [name],
        )
        if not left:
            return
        if not told:
            tell(f"waiting for {len(left)} sessions that an earlier client left on the server")
            told = True
        if stopped():
            return
        if time.monotonic() > end:
            break
        time.sleep(0.1)
    session.rows(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.unnest($1::int4[]) AS s (pid)",
        [[pid for (pid,) in left]],
    )
    tell(f"ended {len(left)} sessions that an earlier client left on the server")

"""What each way of upgrading needs on the disk, and what is free.

Source: https://www.postgresql.org/docs/current/pgupgrade.html (modes of transfer)
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from .rule import Look, Rule, Said

#: of the data directory that a new cluster has before anything is in it
_EMPTY = 64 << 20


def look(at: Look) -> Iterator[Said]:
    """Add up the databases; warn where copies of them do not fit beside them."""
    if at.target == at.catalog.major:
        return
    sizes = at.catalog.rows(
        "SELECT datname, CASE WHEN pg_catalog.has_database_privilege(oid, 'CONNECT')"
        " OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')"
        " THEN pg_catalog.pg_database_size(oid)::int8 END FROM pg_catalog.pg_database ORDER BY 1"
    )
    if hidden := [name for name, size in sizes if size is None]:
        yield at.unseen("disk", f"this role may not see the size of {', '.join(hidden)}")
        return
    total = sum(size for _, size in sizes)
    data = at.catalog.rows(
        "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'"
    )
    free = _free(Path(data[0][0])) if data and _here(at) else None
    if free is None:
        yield at.unseen(
            "disk",
            f"copy needs {_mb(total + _EMPTY)}, link {_mb(_EMPTY)}, a dump at most {_mb(total)}"
            " (its text is about as large as the tables, less when compressed), and what is free"
            " cannot be seen: check on the server itself, as a role that may read data_directory",
        )
        return
    arithmetic = (
        f"databases {_mb(total)}; copy: {_mb(total)} + {_mb(_EMPTY)} for the new cluster ="
        f" {_mb(total + _EMPTY)}; link: {_mb(_EMPTY)}; dump and restore on this disk:"
        f" {_mb(total)} + {_mb(total + _EMPTY)} = {_mb(2 * total + _EMPTY)}; free: {_mb(free)}"
    )
    if free < _EMPTY:
        yield at.blocker(str(data[0][0]), f"no way of upgrading fits: {arithmetic}", "Make room")
    elif free < 2 * total + _EMPTY:
        fits = "only link fits" if free < total + _EMPTY else "a dump does not fit on this disk"
        yield at.warning(
            str(data[0][0]), f"{fits}: {arithmetic}",
            "Make room, or put the dump on another disk",
        )


def _here(at: Look) -> bool:
    """Whether the server is on this machine: it was reached by a socket."""
    return at.catalog.host.startswith("/")


def _free(directory: Path) -> int | None:
    # Its owner's directory may be closed to us, and the one above it is on the same disk or not.
    try:
        (directory / "PG_VERSION").stat()
        return shutil.disk_usage(directory).free
    except OSError:
        return None


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


RULE = Rule(name="space", scope="cluster", look=look)

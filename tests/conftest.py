from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_postgresql import factories
from pytest_postgresql.executors import NoopExecutor

from dedupe.lab import Server, server

#: enough for tests that run workers and commands side by side, and a log that is written
#: at once, because a scan waits until what it builds on is
CONNECTIONS = {"max_connections": "200", "wal_writer_delay": "10ms"}
NAMED = bool(os.environ.get("PGMEND_LAB_DSN"))
WORKER = f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{os.getpid()}"

_numbers = itertools.count(1)


#: a file system in memory, and the bytes that have to be free there and in memory
IN_MEMORY, ROOM = Path("/dev/shm"), 8 << 30


def pytest_configure() -> None:
    """Put servers and files into memory where there is room, unless TMPDIR says where.

    Every test makes a database, which is a thousand files: a disk takes ten times as long.
    """
    if "TMPDIR" not in os.environ and _room() >= ROOM:
        os.environ["TMPDIR"] = str(IN_MEMORY)
        tempfile.tempdir = None


def _room() -> int:
    if not os.access(IN_MEMORY, os.W_OK | os.X_OK) or not IN_MEMORY.is_mount():
        return 0
    lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    return min(shutil.disk_usage(IN_MEMORY).free, available << 10)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the slow tests out of a run that did not ask for them."""
    if os.environ.get("PGMEND_SLOW") == "1":
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: set PGMEND_SLOW=1"))


@pytest.fixture(scope="session")
def lab() -> Iterator[Server]:
    """Give a server for the session; PGMEND_BINDIR or PGMEND_LAB_DSN choose another one.

    Without ICU laws are tried on fewer collations; PGMEND_REQUIRE_ICU=1 does not let that pass.
    """
    with server(settings=None if NAMED else CONNECTIONS) as started:
        if os.environ.get("PGMEND_REQUIRE_ICU") == "1" and not started.icu:
            pytest.fail("the server was built without ICU and PGMEND_REQUIRE_ICU=1 is set")
        yield started


#: the empty database that every test's own is copied from
template = factories.postgresql_noproc(dbname=f"pgmend_{WORKER}", depends_on="lab")


@pytest.fixture
def database(lab: Server, template: NoopExecutor) -> Iterator[str]:
    """Give the connection string of a fresh, empty database of a superuser."""
    name = f"t{next(_numbers)}_{WORKER}"
    yield lab.create_database(name, template=template.template_dbname)
    lab.drop_database(name)


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Give a server of the test's own, to stop, start and kill."""
    if NAMED:
        pytest.skip("PGMEND_LAB_DSN names the only server")
    with server() as started:
        yield started

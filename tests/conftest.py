from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the slow tests out of a run that did not ask for them."""
    if os.environ.get("PGMEND_SLOW") == "1":
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: set PGMEND_SLOW=1"))


@pytest.fixture(scope="session")
def lab() -> Iterator[Server]:
    """Give a server for the session; PGMEND_BINDIR or PGMEND_LAB_DSN choose another one."""
    with server(settings=None if NAMED else CONNECTIONS) as started:
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


@pytest.fixture(autouse=True)
def _icu(request: pytest.FixtureRequest) -> None:
    """Skip a test that needs ICU where the server has none, or fail it if that is asked for."""
    if request.node.get_closest_marker("icu") is None:
        return
    lab: Server = request.getfixturevalue("lab")
    if lab.icu:
        return
    if os.environ.get("PGMEND_REQUIRE_ICU") == "1":
        pytest.fail("the server was built without ICU and PGMEND_REQUIRE_ICU=1 is set")
    pytest.skip("the server was built without ICU")

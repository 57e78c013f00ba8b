"""Databases whose oldest transaction, or multixact, is too old."""

from __future__ import annotations

import shutil
import subprocess

import psycopg
import pytest

from dedupe.lab import Server
from dedupe.lab.binaries import account
from migrations_check import Asked, Finding, check_server

from .conftest import Checked
from .servers import of_major, run

LIMIT = 2**31 - 1


def told(server: Server) -> list[Finding]:
    report = check_server(server.dsn(), Asked(to=18, quick=True)).report
    return [one for one in report.findings if one.rule == "xid-age"]


@pytest.mark.parametrize("column", ["datfrozenxid", "datminmxid"])
def test_databases_that_are_old(checked: Checked, column: str) -> None:
    """Scenario: the catalog says so, which is all that a check can read of it."""
    assert told(checked.server) == []
    where = f"WHERE datname = '{checked.dbname}'"
    ((was,),) = checked.run(f"SELECT {column}::text FROM pg_database {where}")
    spare = {True: 3_000_000, False: 1_000_000 if column == "datfrozenxid" else 100}
    stop = LIMIT - spare[checked.major >= 14]
    for age, severity in ((1_499_000_000, None), (1_600_000_000, "warning"),
                          (stop - 9_000, "warning"), (stop + 90, "blocker")):
        old = (int(was) - age) % 2**32
        checked.run(f"UPDATE pg_database SET {column} = '{old}' {where}")
        said = told(checked.server)
        assert [(one.object, one.severity) for one in said] == (
            [(checked.dbname, severity)] if severity else [])
        assert all("-" not in one.message for one in said)
    checked.run(f"UPDATE pg_database SET {column} = '{was}' {where}")


@pytest.mark.parametrize("major", [18, 15])
def test_a_server_that_takes_no_more_writes(major: int) -> None:
    """Scenario: its counter is set on by pg_resetwal, while a forgotten slot holds vacuum back."""
    with of_major(major, {"wal_level": "logical"}) as server:
        assert told(server) == []
        run(server.dsn(), "SELECT pg_create_logical_replication_slot('old', 'pgoutput')")
        ((oldest,),) = run(server.dsn(), "SELECT max(age(datfrozenxid))::int8 FROM pg_database")
        ((now,),) = run(server.dsn(), "SELECT txid_current()")
        server.stop()
        advance(server, now - oldest + LIMIT - 2_900_000)
        server.start()
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="wraparound"):
            run(server.dsn(), "CREATE TABLE refused (a int)")
        said = told(server)
        assert {one.severity for one in said} == {"blocker"}
        assert {"postgres", "template0"} <= {one.object for one in said}
        assert all("takes no more writes" in one.message for one in said)


def advance(server: Server, xid: int) -> None:
    """Set the next transaction of a stopped server, with the page of states that it needs."""
    assert server.data is not None
    assert server.bindir is not None
    subprocess.run([server.bindir / "pg_resetwal", "-x", str(xid), "-D", server.data], check=True,
                   capture_output=True, cwd="/", **account().dropped)
    # 32,768 transactions a page, 32 pages a segment.
    segment = server.data / "pg_xact" / f"{xid // (32768 * 32):04X}"
    segment.write_bytes(bytes(32 * 8192))
    shutil.copystat(server.data / "pg_xact" / "0000", segment)
    if account().other:
        shutil.chown(segment, account().uid, account().gid)

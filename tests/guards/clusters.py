"""A cluster as an administrator has it: its settings in its own directory, pg_ctl to run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from dedupe.lab import binaries

USER = "admin"
#: where Debian keeps a server of another major than the wheel's
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
Connection = psycopg.Connection[tuple[Any, ...]]


class Cluster:
    """A running cluster; ``root`` is a directory of its own, straight under the temporary one."""

    def __init__(self, root: Path, bindir: Path | None = None) -> None:
        self.root = root
        self.account = binaries.account()
        if self.account.other:
            os.chown(root, self.account.uid, self.account.gid)
        self.bindir = binaries.usable(binaries.find(bindir), self.account, root / "install")
        self.data = root / "data"
        self.program("initdb", "--username", USER, "--auth", "trust", "--no-sync",
                     "--encoding", "UTF8", "--locale", "C.UTF-8", "--pgdata", str(self.data))
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(f"listen_addresses = ''\nunix_socket_directories = '{root}'\n"
                       "fsync = off\nmax_wal_senders = 5\n")
        self.start()

    def program(self, name: str, *words: str) -> str:
        """Run one of the cluster's programs as its owner."""
        # A file, not a pipe: the server that pg_ctl starts would keep it open.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                [self.bindir / name, *words], cwd=self.root, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, check=False, timeout=120,
                **self.account.dropped,
            )
            output.seek(0)
            text = output.read()
        assert done.returncode == 0, text
        return text

    def start(self) -> None:
        self.program("pg_ctl", "--pgdata", str(self.data), "--log", str(self.root / "log"),
                     "--wait", "start")

    def stop(self) -> None:
        self.program("pg_ctl", "--pgdata", str(self.data), "--mode", "fast", "--wait", "stop")

    def promoted(self) -> None:
        """Become the next timeline, as after a failover."""
        self.stop()
        (self.data / "standby.signal").touch()
        self.start()
        self.program("pg_ctl", "--pgdata", str(self.data), "--wait", "promote")

    def dsn(self, dbname: str = "postgres", **more: str) -> str:
        return psycopg.conninfo.make_conninfo(
            host=str(self.root), port=5432, user=USER, dbname=dbname, **more
        )

    def run(self, dbname: str, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements; return the rows of the last one."""
        with psycopg.connect(self.dsn(dbname), autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def directory(self, name: str) -> Path:
        """Make a directory of the cluster's owner."""
        made = self.root / name
        made.mkdir()
        if self.account.other:
            os.chown(made, self.account.uid, self.account.gid)
        return made


@contextmanager
def cluster(bindir: Path | None = None) -> Iterator[Cluster]:
    """Give a cluster; at the end it is stopped and its directory removed."""
    root = Path(tempfile.mkdtemp(prefix="pgmend-guard-", dir="/tmp")).resolve()
    made = None
    try:
        made = Cluster(root, bindir)
        yield made
    finally:
        if made is not None and (made.data / "postmaster.pid").exists():
            made.stop()
        shutil.rmtree(root)


SHOP = (
    "CREATE TABLE customers (id int PRIMARY KEY, name text)",
    "INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, 5000) n",
    "CREATE TABLE nothing (id int)",
    "SELECT pg_stat_force_next_flush()",
)


def with_shop(made: Cluster) -> Cluster:
    """Put a database ``shop`` into a cluster, with a role of its own."""
    made.run("postgres", "CREATE DATABASE shop", "CREATE ROLE keeper LOGIN PASSWORD 'hidden'",
             "CREATE ROLE readers", "GRANT readers TO keeper")
    made.run("shop", *SHOP)
    return made

"""What goes wrong around a database: poolers, old servers, damaged files, full disks, standbys."""

from __future__ import annotations

import itertools
import os
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dedupe.lab import Server
from dedupe.lab.binaries import account

Connection = psycopg.Connection[tuple[Any, ...]]

_numbers = itertools.count(1)


@contextmanager
def room() -> Iterator[Path]:
    """Give a directory that the account of the lab's server can use, and remove it."""
    # Straight under the temporary directory: pytest's own is closed to other accounts.
    where = Path(tempfile.mkdtemp(prefix="pgmend-test-"))
    try:
        by = account()
        if by.other:
            os.chown(where, by.uid, by.gid)
        yield where
    finally:
        shutil.rmtree(where, ignore_errors=True)


@contextmanager
def process(argv: list[str], where: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program under the account of the lab's server, and end it."""
    with (where / "log").open("wb") as log:
        started = subprocess.Popen(
            argv, cwd=where, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **account().dropped
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(10)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def wait_for(dsn: str, started: subprocess.Popen[bytes], where: Path) -> None:
    """Wait until a server or pooler takes connections."""
    for _ in range(300):
        try:
            psycopg.connect(dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            assert started.poll() is None, (where / "log").read_text()
            time.sleep(0.05)
        else:
            return
    pytest.fail((where / "log").read_text())


@contextmanager
def pooler(dsn: str, mode: str) -> Iterator[str]:
    """Put a PgBouncer before a database; gives the connection string that goes through it.

    Skips where none is installed, but not in CI.
    """
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        missing = "pgbouncer is not installed (apt-get install pgbouncer)"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    target = conninfo_to_dict(dsn)
    with room() as where:
        (where / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"* = host={target['host']} port={target['port']} user={target['user']}\n"
            "[pgbouncer]\n"
            f"pool_mode = {mode}\nunix_socket_dir = {where}\nlisten_port = 6432\n"
            "auth_type = any\ndefault_pool_size = 20\nlisten_addr =\n"
        )
        with process([program, "pgbouncer.ini"], where) as started:
            pooled = make_conninfo(dsn, host=str(where), port=6432)
            wait_for(pooled, started, where)
            yield pooled


@contextmanager
def pretender(dsn: str, real: int | str, told: str) -> Iterator[str]:
    """Stand before a server and let it tell another version; gives the way to it.

    ``real`` is what it says itself, as ``server_version_num`` or as ``server_version``.
    """
    target = conninfo_to_dict(dsn)
    truth, lie = str(real).encode(), told.encode()
    assert len(truth) == len(lie)

    def relay(client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(f"{target['host']}/.s.PGSQL.{target['port']}")
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready is client:
                        server.sendall(data)
                    else:
                        client.sendall(data.replace(truth, lie))

    def serve(door: socket.socket) -> None:
        while True:
            try:
                client, _ = door.accept()
            except OSError:
                break
            thread = threading.Thread(target=relay, args=(client,))
            thread.start()
            threads.append(thread)

    threads: list[threading.Thread] = []
    if not str(target["host"]).startswith("/"):
        pytest.skip("the server has no socket in a directory")
    with (
        tempfile.TemporaryDirectory(prefix="pgmend-test-") as where,
        socket.socket(socket.AF_UNIX) as door,
    ):
        door.bind(f"{where}/.s.PGSQL.5432")
        door.listen()
        threads.append(threading.Thread(target=serve, args=(door,)))
        threads[0].start()
        try:
            yield make_conninfo(dsn, host=where, port=5432)
        finally:
            door.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)


@contextmanager
def standby(primary: Server) -> Iterator[str]:
    """Copy a server and let the copy follow it; gives the standby's connection string."""
    assert primary.bindir is not None
    if not (primary.bindir / "pg_basebackup").exists():
        pytest.skip("this server's installation has no pg_basebackup")
    with room() as where:
        data = where / "data"
        subprocess.run(
            [
                str(primary.bindir / "pg_basebackup"), "-D", str(data), "-d", primary.dsn(),
                "-R", "-X", "stream", "-c", "fast", "--no-sync",
            ],
            cwd=where, check=True, capture_output=True, stdin=subprocess.DEVNULL,
            **account().dropped,
        )  # fmt: skip
        settings = {
            "unix_socket_directories": where, "listen_addresses": "", "fsync": "off", "port": 5433,
            "max_connections": 200,
        }
        argv = [str(primary.bindir / "postgres"), "-D", str(data)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        with process(argv, where) as started:
            dsn = make_conninfo(primary.dsn(), host=str(where), port=5433)
            wait_for(dsn, started, where)
            yield dsn


def caught_up(primary: Connection, follower: Connection) -> None:
    """Wait until the standby has replayed all that the primary wrote."""
    (there,) = primary.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone() or ("",)
    for _ in range(300):
        behind = follower.execute("SELECT pg_last_wal_replay_lsn() < %s::pg_lsn", [there])
        if behind.fetchone() == (False,):
            return
        time.sleep(0.05)
    pytest.fail("the standby does not follow")


@dataclass(frozen=True)
class Breakable:
    """A server that tests stop, crash and damage one after another, and a database of one's own."""

    server: Server
    dsn: str

    @classmethod
    @contextmanager
    def serve(cls, started: Server) -> Iterator[Breakable]:
        """Give a fresh database of a running server, whatever the last test left behind."""
        started.start()
        name = f"broken_{next(_numbers)}"
        try:
            yield cls(started, started.create_database(name))
        finally:
            started.start()
            started.drop_database(name)

    def crash(self) -> None:
        """Stop the server as a power cut would, and start it again."""
        self.server.stop("immediate")
        self.server.start()

    def spoil(self, file: str, blocks: Iterable[int], size: int, data: bytes) -> None:
        """Overwrite the beginning of blocks on the disk, while the server is down."""
        assert self.server.data is not None
        self.server.stop()
        with (self.server.data / file).open("r+b") as heap:
            for block in blocks:
                heap.seek(block * size)
                heap.write(data)
        self.server.start()


def page_of(connection: Connection, relation: str) -> tuple[str, int]:
    """Return the file of a relation below the data directory, and the size of a block."""
    row = connection.execute(
        "SELECT pg_relation_filepath(%s::regclass), current_setting('block_size')::int", [relation]
    ).fetchone()
    assert row is not None
    return row


@contextmanager
def small_disk(where: Path, size: int) -> Iterator[Path]:
    """Give a directory on a disk of so many bytes; skips where none can be mounted."""
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(where)],
        capture_output=True, check=False,
    ) if os.geteuid() == 0 else None  # fmt: skip
    if mounted is None or mounted.returncode != 0:
        pytest.skip("no disk can be mounted here: it takes root")
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def fill(disk: Path, leave: int) -> Path:
    """Fill a disk up to so many bytes; returns the file to remove."""
    filler = disk / "filler"
    size = max(0, shutil.disk_usage(disk).free - leave)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    return filler

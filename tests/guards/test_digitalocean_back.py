"""The whole way: a cluster on a volume, a snapshot of the running disk, and back by the steps."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from dedupe.connect import connect
from dedupe.lab import Server, server
from migrations_check.snapshots.cluster import Cluster, position
from migrations_check.snapshots.provider import Step
from migrations_check.snapshots.settings import open_provider

from .digitalocean_api import TOKEN, Account, serving
from .loopvolume import attached, run, volume

NAME = f"pgmend-back-{os.getpid()}"


@contextmanager
def disks(account: Account, at: Path, where: Path) -> Iterator[None]:
    """Let the account's volumes be loop devices, and its snapshots copies of their images."""
    images = {next(iter(account.volumes)): where / f"{NAME}.img"}
    open_disks: dict[str, ExitStack] = {}

    def snapshot(of: str, snapshot: str) -> None:
        # One moment of the whole disk, under a running server.
        run("fsfreeze", "--freeze", str(at))
        try:
            run("cp", "--sparse=always", str(images[of]), str(where / f"{snapshot}.img"))
        finally:
            run("fsfreeze", "--unfreeze", str(at))

    def made(snapshot: str, of: str) -> None:
        images[of] = where / f"{of}.img"
        run("cp", "--sparse=always", str(where / f"{snapshot}.img"), str(images[of]))

    def acted(of: str, kind: str) -> None:
        if kind == "attach":
            disk = open_disks[of] = ExitStack()
            disk.enter_context(attached(account.volumes[of]["name"], images[of]))
        elif of in open_disks:
            open_disks.pop(of).close()

    account.on_snapshot, account.on_volume, account.on_action = snapshot, made, acted
    try:
        yield
    finally:
        while at.is_mount():
            run("umount", str(at))
        for disk in open_disks.values():
            disk.close()


def in_path(where: Path) -> Path:
    """Make the programs that the steps use and that need not be on this machine."""
    where.mkdir()
    doctl = f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("doctl.py")} "$@"\n'
    for name, text in (("doctl", doctl), ("sudo", '#!/bin/sh\nexec "$@"\n')):
        (where / name).write_text(text)
        (where / name).chmod(0o755)
    return where


def moved(started: Server, at: Path) -> None:
    """Move a server's cluster to the volume; a symbolic link leads there."""
    assert started.data is not None
    started.stop()
    run("cp", "--archive", str(started.data), str(at / "main"))
    run("rm", "--recursive", str(started.data))
    started.data.symlink_to(at / "main")
    started.start()


def test_back_by_the_printed_steps_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshot under load, a ruinous upgrade, the steps as a script: the data is as before.

    Rows that were committed before the snapshot are there, none after it, and the old disk
    is left as it was.
    """
    monkeypatch.setenv("DO_TOKEN", TOKEN)
    with (
        volume(NAME, tmp_path) as at,
        serving() as account,
        server(settings={"fsync": "on"}) as started,
    ):
        old = account.volume(NAME)
        with disks(account, at, tmp_path):
            moved(started, at)
            _, provider = open_provider("nightly", {"nightly": {
                "kind": "digitalocean", "volume": NAME, "region": "fra1",
                "token_env": "DO_TOKEN", "endpoint": account.url,
            }})  # fmt: skip
            with psycopg.connect(started.dsn(), autocommit=True) as connection:
                connection.execute("CREATE TABLE toots AS SELECT i FROM generate_series(1, 9) i")
                connection.execute("CREATE TABLE filler (i serial PRIMARY KEY, t text)")
                connection.execute("INSERT INTO filler (t) VALUES ('first')")
            cluster = Cluster.of(connect(started.dsn()))
            assert provider.lacks(cluster) == ()

            stop = threading.Event()
            writer = threading.Thread(target=fill, args=(started.dsn(), stop))
            writer.start()
            try:
                taken = provider.take(cluster, silent)
            finally:
                stop.set()
                writer.join()
            assert taken.complete
            assert taken.system_identifier == cluster.system_identifier
            assert taken.facts["mount"] == str(at)

            with psycopg.connect(started.dsn(), autocommit=True) as connection:
                connection.execute("INSERT INTO toots VALUES (10)")
                connection.execute("DROP TABLE filler")
            steps = provider.steps_back(taken, cluster)
            started.stop()
            subprocess.run(
                ["bash", "-euc", "\n".join(steps)],
                check=True,
                env={
                    "PATH": f"{in_path(tmp_path / 'bin')}:{os.environ['PATH']}",
                    "DIGITALOCEAN_API_URL": account.url,
                    "DIGITALOCEAN_ACCESS_TOKEN": TOKEN,
                },
            )
            started.start()
            with psycopg.connect(started.dsn(), autocommit=True) as connection:
                rows = connection.execute("SELECT array_agg(i ORDER BY i) FROM toots").fetchone()
                assert rows == ([*range(1, 10)],)
                found = connection.execute("SELECT count(*), max(i) FROM filler").fetchone()
                assert found is not None
                assert found[0] == found[1] > 0
                # Every page of the table and of its index is read and compared.
                connection.execute("SET enable_seqscan = off")
                assert connection.execute("SELECT count(i) FROM filler").fetchone() == found[:1]
            back = Cluster.of(connect(started.dsn()))
            assert back.system_identifier == cluster.system_identifier
            assert position(back.lsn) >= position(str(taken.lsn))
            assert account.volumes[old]["droplet_ids"] == []
            new = next(v for v in account.volumes.values() if v["id"] != old)
            assert new["droplet_ids"] == [386734086]
            assert steps[-2] == f'# In the settings of pgmend, write volume = "{new["name"]}".'
            _, after = open_provider("nightly", {"nightly": {
                "kind": "digitalocean", "volume": new["name"], "region": "fra1",
                "token_env": "DO_TOKEN", "endpoint": account.url,
            }})  # fmt: skip
            assert after.lacks(back) == ()
            started.stop()


def fill(dsn: str, stop: threading.Event) -> None:
    """Write rows one by one, without a gap in the numbers, until told to stop."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        while not stop.is_set():
            connection.execute("INSERT INTO filler (t) SELECT repeat('x', 500)")


def silent(step: Step) -> None:
    """Take a step of the work and say nothing."""

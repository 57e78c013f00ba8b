"""The way back where the cluster's directories are mount points, which cannot be moved."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .clusters import Cluster
from .conftest import Guarded
from .test_end_to_end import steps


@contextmanager
def mounted(own: Cluster, at: Path) -> Iterator[None]:
    """Mount a file system of its own on a directory, for the cluster's owner."""
    options = f"size=400m,mode=0700,uid={own.account.uid},gid={own.account.gid}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(at)]
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(at)], check=True)


@pytest.fixture
def apart(own: Cluster) -> Iterator[Cluster]:
    """Give a cluster whose data directory and whose tablespace are mount points."""
    own.stop()
    plain = own.data.rename(own.root / "plain")
    own.directory("data")
    space = own.directory("fast disk")
    with mounted(own, own.data), mounted(own, space):
        subprocess.run(["cp", "-a", f"{plain}/.", str(own.data)], check=True)
        own.start()
        try:
            own.run("shop", f"CREATE TABLESPACE fast LOCATION '{space}'",
                    "CREATE TABLE orders TABLESPACE fast AS SELECT generate_series(1, 700) AS id")
            yield own
        finally:
            own.stop()


def test_contents_of_a_mount_point_are_moved(guard: Guarded, apart: Cluster) -> None:
    """The printed lines bring the rows back, on the same disks, and keep what was there."""
    guard.cluster = apart
    receipt = guard.take("pg_basebackup")
    assert guard("verify", str(receipt), "--drill").returncode == 0
    apart.run("shop", "DELETE FROM customers", "DROP TABLE orders")
    failed = guard("run", *guard.db, "-q", "--", "false")
    back = subprocess.run(["sh", "-e"], input=steps(failed.stderr), capture_output=True,
                          text=True, timeout=120, check=False)
    assert back.returncode == 0, back.stderr
    assert apart.run("shop", "SELECT count(*) FROM customers") == [(5000,)]
    assert apart.run("shop", "SELECT count(*) FROM orders") == [(700,)]
    assert apart.data.is_mount()
    (aside,) = apart.data.glob("before-basebackup-*")
    assert f"what is in it is moved to {aside}." in failed.stderr
    assert (aside / "global/pg_control").exists()
    assert len(list((apart.root / "fast disk").glob("before-basebackup-*"))) == 1
    # The next snapshot is as good as that one.
    assert guard("verify", str(guard.take("pg_basebackup")), "--drill").returncode == 0

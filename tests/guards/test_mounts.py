"""Where a cluster lies: real servers, real mounts, real block devices."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest

from dedupe.connect import connect
from dedupe.lab import Server
from migrations_check.snapshots import mounts
from migrations_check.snapshots.cluster import Cluster

from .loopvolume import run, server_in, volume

NAME = f"pgmend-test-{os.getpid()}"


def uncovered(started: Server, name: str = NAME) -> tuple[str, ...]:
    found = Cluster.of(connect(started.dsn()))
    assert found.data_directory is not None
    return mounts.uncovered(found.data_directory, found.system_identifier, name)


def test_a_cluster_on_one_volume_is_covered(tmp_path: Path) -> None:
    """With a symbolic link on the way, and a tablespace on the same volume."""
    with volume(NAME, tmp_path) as at, server_in(at) as started:
        assert started.data is not None
        assert uncovered(started) == ()
        space = at / "space"
        space.mkdir()
        shutil.chown(space, started.data.owner(), started.data.group())
        with psycopg.connect(started.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE s LOCATION '{space}'")
            assert uncovered(started) == ()
            connection.execute("DROP TABLESPACE s")
        link = tmp_path / "data"
        link.symlink_to(started.data)
        identifier = Cluster.of(connect(started.dsn())).system_identifier
        assert mounts.uncovered(link, identifier, NAME) == ()
        assert mounts.mounted(link) == (str(at), NAME)
        assert mounts.uncovered(link, identifier, "pg-data")[0] == (
            f"{started.data} does not lie on the volume pg-data, but on {NAME}"
        )
        other = mounts.uncovered(link, identifier + 1, NAME)
        assert "holds another cluster" in other[0]


def test_write_ahead_log_on_another_volume_is_refused(tmp_path: Path) -> None:
    with (
        volume(NAME, tmp_path) as at,
        volume(f"{NAME}-wal", tmp_path) as wal,
        server_in(at) as started,
    ):
        assert started.data is not None
        log = started.data / "pg_wal"
        started.stop()
        run("cp", "--archive", str(log), str(wal / "log"))
        shutil.rmtree(log)
        log.symlink_to(wal / "log")
        started.start()
        elsewhere, spans = uncovered(started)
        assert elsewhere == f"{wal}/log does not lie on the volume {NAME}, but on {NAME}-wal"
        assert spans.startswith(f"the cluster spans {NAME}, {NAME}-wal; ")
        started.stop()


def test_a_mount_inside_the_data_directory_is_seen(tmp_path: Path) -> None:
    """No link leads there: the log is a file system in memory, mounted over its directory."""
    with volume(NAME, tmp_path) as at, server_in(at) as started:
        assert started.data is not None
        log = started.data / "pg_wal"
        started.stop()
        owner = log.stat()
        kept = at / "kept"
        run("cp", "--archive", str(log), str(kept))
        run("mount", "-t", "tmpfs", "-o", f"uid={owner.st_uid},gid={owner.st_gid},mode=700",
            "tmpfs", str(log))  # fmt: skip
        try:
            subprocess.run(["sh", "-c", f"cp --archive {kept}/. {log}/"], check=True)
            started.start()
            told = uncovered(started)
            started.stop()
        finally:
            run("umount", str(log))
        assert told[0].startswith(f"{log} does not lie on the volume {NAME}, but on device 0:")
        assert told[1].startswith("the cluster spans ")


def test_a_tablespace_elsewhere_is_refused(tmp_path: Path) -> None:
    with volume(NAME, tmp_path) as at, server_in(at) as started:
        assert started.data is not None
        space = Path(tempfile.mkdtemp(prefix="pgmend-space-", dir=at.parent))
        shutil.chown(space, started.data.owner(), started.data.group())
        with psycopg.connect(started.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE s LOCATION '{space}'")
            told = uncovered(started)
            connection.execute("DROP TABLESPACE s")
        space.rmdir()
    assert told[0].startswith(f"{space} does not lie on the volume {NAME}, but on device ")
    assert "the cluster spans" in told[1]


def test_a_partition_of_the_volume_is_the_volume(tmp_path: Path) -> None:
    """Its device is named after the volume with -part1 behind, as udev does."""
    with volume(NAME, tmp_path) as at, server_in(at) as started:
        link = Path(f"{mounts.DEVICES}{NAME}")
        part = link.with_name(f"{link.name}-part1")
        link.rename(part)
        try:
            assert uncovered(started) == ()
            assert started.data is not None
            assert mounts.mounted(started.data) == (str(at), f"{NAME}-part1")
            assert uncovered(started, NAME[:-1]) != ()
        finally:
            part.rename(link)


def test_a_bind_mount_is_followed_to_the_volume(tmp_path: Path) -> None:
    """The steps back unmount what the volume is mounted at, not a piece of it."""
    with volume(NAME, tmp_path) as at:
        (at / "inner").mkdir()
        bound = tmp_path / "bound"
        bound.mkdir()
        run("mount", "--bind", str(at / "inner"), str(bound))
        try:
            assert mounts.mounted(bound) == (str(at), NAME)
        finally:
            run("umount", str(bound))


def test_a_mount_point_with_a_space_is_told_as_it_is(tmp_path: Path) -> None:
    with volume(NAME, tmp_path) as at:
        spaced = tmp_path / "pg data"
        spaced.mkdir()
        run("umount", str(at))
        run("mount", f"{mounts.DEVICES}{NAME}", str(spaced))
        try:
            assert mounts.mounted(spaced) == (str(spaced), NAME)
        finally:
            run("umount", str(spaced))


def test_a_cluster_on_no_volume_is_not_covered(lab: Server) -> None:
    if lab.data is None:
        pytest.skip("PGMEND_LAB_DSN names a server whose files are not ours to read")
    told = uncovered(lab, "pg-data")
    assert told
    assert f"{lab.data.resolve()} does not lie on the volume pg-data" in told[0]
    assert mounts.mounted(lab.data) is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every directory")
def test_a_directory_that_may_not_be_read_is_not_covered(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0)
    assert "Permission denied" in mounts.uncovered(tmp_path / "data", 1, "pg-data")[0]

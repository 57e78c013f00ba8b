"""Volumes for tests: file systems on loop devices that are named as DigitalOcean's are.

Needs root. Devices get their names in /dev/disk/by-id, and lose them at the end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from dedupe.lab import Server, server

BY_ID = Path("/dev/disk/by-id")
NEEDED = ("mkfs.ext4", "losetup", "mount", "umount", "fsfreeze", "cp")


def require_root() -> None:
    """Skip a test where disks cannot be made."""
    if os.environ.get("PGMEND_LAB_DSN"):
        pytest.skip("PGMEND_LAB_DSN names the only server")
    if os.geteuid() != 0:
        pytest.skip("only root can make a loop device and mount it")
    missing = [program for program in NEEDED if shutil.which(program) is None]
    if missing or not Path("/dev/loop-control").exists():
        pytest.skip(f"no loop devices here, or not installed: {' '.join(missing)}")


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def attached(name: str, image: Path) -> Iterator[Path]:
    """Make an image a disk of that volume's name; give the link to it."""
    BY_ID.mkdir(parents=True, exist_ok=True)
    link = BY_ID / f"scsi-0DO_Volume_{name}"
    device = run("losetup", "--find", "--show", str(image))
    try:
        link.symlink_to(device)
        yield link
    finally:
        link.unlink(missing_ok=True)
        run("losetup", "--detach", device)


@contextmanager
def mounted(device: Path) -> Iterator[Path]:
    """Mount a disk straight under the temporary directory, open to every account."""
    at = Path(tempfile.mkdtemp(prefix="pgmend-volume-")).resolve()
    try:
        run("mount", str(device), str(at))
        at.chmod(0o1777)
        try:
            yield at
        finally:
            while at.is_mount():
                run("umount", str(at))
    finally:
        at.rmdir()


@contextmanager
def volume(name: str, where: Path) -> Iterator[Path]:
    """Give the mount point of a new, empty volume; its image is ``where/name.img``."""
    require_root()
    image = where / f"{name}.img"
    with image.open("wb") as file:
        file.truncate(1024**3)
    run("mkfs.ext4", "-q", str(image))
    with ExitStack() as stack:
        yield stack.enter_context(mounted(stack.enter_context(attached(name, image))))


@contextmanager
def server_in(where: Path) -> Iterator[Server]:
    """Start a server whose cluster lies under ``where``, durable as a real one is."""
    before, tempfile.tempdir = tempfile.tempdir, str(where)
    with ExitStack() as stack:
        try:
            started = stack.enter_context(server(settings={"fsync": "on"}))
        finally:
            tempfile.tempdir = before
        yield started

"""Snapshots that lie in a directory of this machine: named, finished, listed, removed.

Each is a directory of its own. While it is made its name ends in ``.partial``; that it is
whole is said by renaming it, after all of it and its description are on disk.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from dedupe.errors import ProviderFailed

from .cluster import Cluster
from .programs import bindir_of
from .provider import Proof, Snapshot
from .settings import Access

PARTIAL = ".partial"
_DESCRIPTION = "pgmend-snapshot.json"
_NAME = re.compile(r"([a-z]+)-(\d{8}T\d{6}Z)-[0-9a-f]{6}(\.partial)?")


class SnapshotDirectory:
    """The snapshots of one kind of provider below a directory."""

    def __init__(self, provider: str, prefix: str, root: str) -> None:
        self._provider = provider
        self._prefix = prefix
        self._root = Path(root).expanduser().absolute()

    def place(self, snapshot_id: str) -> Path:
        """Return where a snapshot lies."""
        return self._root / snapshot_id

    def ready(self) -> None:
        """Make the directory, and see whether it can be written to. Raises ProviderFailed."""
        with self._said("write to"):
            self._root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._root):
                pass

    @contextmanager
    def making(self, cluster: Cluster) -> Iterator[Path]:
        """Give a new directory for a snapshot; what fails in it is removed again.

        Raises ProviderFailed.
        """
        name = f"{self._prefix}-{cluster.now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}{PARTIAL}"
        with self._said("write to"):
            self._root.mkdir(parents=True, exist_ok=True)
            self.place(name).mkdir(mode=0o700)
        try:
            with self._said("write to"):
                yield self.place(name)
        except BaseException:
            # A full disk shall not stay full of something that is of no use.
            shutil.rmtree(self.place(name), ignore_errors=True)
            raise

    def finish(self, made: Path, snapshot: Snapshot) -> Snapshot:
        """Write its description beside its files, and call it whole. Raises ProviderFailed."""
        with self._said("write to"):
            with (made / _DESCRIPTION).open("xb") as out:
                out.write(msgspec.json.format(msgspec.json.encode(snapshot)))
                out.flush()
                os.fsync(out.fileno())
            for path in made.rglob("*"):
                if not path.is_symlink():
                    sync(path)
            sync(made)
            made.rename(self.place(snapshot.id))
            sync(self._root)
        return snapshot

    def list(self) -> tuple[Snapshot, ...]:
        """Return all snapshots, oldest first; those without a description are half-finished.

        Raises ProviderFailed where the directory, or a snapshot, is not there to be read: a disk
        that is not mounted is not one without snapshots.
        """
        with self._said("read"):
            found = sorted(
                (match[2], path) for path in self._root.iterdir()
                if (match := _NAME.fullmatch(path.name)) and match[1] == self._prefix
            )
        return tuple(self._described(path, text) for text, path in found)

    def delete(self, snapshot: Snapshot) -> None:
        """Remove a snapshot; nothing when it is gone. Raises ProviderFailed."""
        place = self.place(snapshot.id)
        if not _NAME.fullmatch(snapshot.id) or not place.exists():
            return
        with self._said("remove from"):
            # Killed in the middle of this it is a half-finished one again.
            partial = place.with_name(place.name.removesuffix(PARTIAL) + PARTIAL)
            place.rename(partial)
            shutil.rmtree(partial)

    def _described(self, path: Path, text: str) -> Snapshot:
        try:
            # One that may not be read is not known to be half-finished.
            with self._said("read"), suppress(FileNotFoundError):
                if not path.name.endswith(PARTIAL):
                    found = msgspec.json.decode((path / _DESCRIPTION).read_bytes(), type=Snapshot)
                    if found.id == path.name:
                        return found
        except msgspec.DecodeError:
            pass
        began = datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return Snapshot(
            id=path.name, taken_at=began, complete=False, size=None, place=str(self._root)
        )

    @contextmanager
    def _said(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ProviderFailed(
                f"cannot {doing} {error.filename or self._root}: {error.strerror}",
                hint=("Mount it, or let this account read it." if doing == "read" else
                      "Make room or mount it, or name another directory with --to."),
                provider=self._provider,
            ) from error


class DirectoryProvider:
    """What providers have in common whose snapshots lie in a directory."""

    def __init__(self, access: Access, prefix: str, to: str) -> None:
        self.name = access.name
        self._access = access
        self._kept = SnapshotDirectory(access.name, prefix, to)

    def list(self) -> tuple[Snapshot, ...]:
        """Return the snapshots below the directory. Raises ProviderFailed."""
        return self._kept.list()

    def delete(self, snapshot: Snapshot) -> None:
        """Remove one; nothing when it is gone. Raises ProviderFailed."""
        self._kept.delete(snapshot)

    def _ready(self, major: int, *names: str) -> None:
        """See, before anything is read, whether there are programs and a place to write to.

        Raises ProgramMissing, ProviderFailed.
        """
        self._bindir(major, *names)
        self._kept.ready()

    def _bindir(self, major: int, *names: str) -> Path:
        return bindir_of(major, *names, named=self._access.bindir)


def failed(finding: str) -> Proof:
    """Return the proof of a snapshot that cannot be relied on."""
    return Proof(passed=False, findings=(finding,))


def first_step(snapshot: Snapshot, fate: str) -> str:
    """Return what a person has to know before going back: what becomes of later rows."""
    since = f"{snapshot.taken_at:%Y-%m-%d %H:%M:%S}Z"
    return f"# Stop the application first. What was written since {since} {fate}."


def digest(directory: Path) -> str:
    """Return a checksum over the names and the bytes of all files below a directory."""
    whole = hashlib.sha256()
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            part = hashlib.file_digest(file, "sha256").hexdigest()
        whole.update(f"{part} {path.relative_to(directory)}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()


def sync(path: Path) -> None:
    """Put a file, or the names in a directory, on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

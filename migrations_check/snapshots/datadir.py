"""A copied data directory: whose it is, where its tablespaces are, how it is put in place."""

from __future__ import annotations

import os
import shlex
import struct
from collections.abc import Sequence
from pathlib import Path


def identifier(data: Path) -> int:
    """Return the system identifier: the first eight bytes of the control file."""
    (found,) = struct.unpack("=Q", (data / "global/pg_control").read_bytes()[:8])
    return int(found)


def relink(data: Path, old: Path, new: Path) -> None:
    """Let the links to tablespaces below ``old`` lead below ``new``."""
    for link in (data / "pg_tblspc").iterdir():
        if link.is_symlink() and (target := link.readlink()).is_relative_to(old):
            link.unlink()
            link.symlink_to(new / target.relative_to(old))


def start_options(data: Path) -> str:
    """Return what pg_ctl has to be told to start the server as it was started; may be empty.

    Options of its command line are in no file that a copy brings back. Nothing where the
    directory cannot be read from here.
    Source: https://www.postgresql.org/docs/current/app-pg-ctl.html (postmaster.opts)
    """
    try:
        _, *words = shlex.split((data / "postmaster.opts").read_text("utf-8", "surrogateescape"))
    except (OSError, ValueError):
        return ""
    for place, word in enumerate(words):
        if word == "-D":
            del words[place : place + 2]
            break
    return f" --options={shlex.quote(shlex.join(words))}" if words else ""


def put_in_place(moves: Sequence[tuple[str, Path]], name: str) -> list[str]:
    """Return the commands that put copies in the place of directories, which are kept aside.

    The first pair is the data directory and its copy, the others are tablespaces.
    """
    words = [word for old, new in moves for word in _put(old, shlex.quote(str(new)), name)]
    links = shlex.quote(f"{moves[0][0]}/pg_tblspc")
    return words + [f"find {links} -lname {shlex.quote(str(new))}"
                    f" -exec ln -sfn {shlex.quote(old)} {{}} ';'" for old, new in moves[1:]]


def _put(old: str, new: str, name: str) -> list[str]:
    kept = f"before-{name}"
    if os.path.ismount(real := os.path.realpath(old)):
        # It cannot be renamed; and what stays in its file system is moved in no time, and whole.
        there, aside = shlex.quote(real), shlex.quote(f"{real}/{kept}")
        return [f"# {there} is a mount point: what is in it is moved to {aside}.",
                "# Remove that once you are sure: the next copies would hold it, too.",
                f"mkdir -m 700 {aside}", f"chown --reference={there} {aside}",
                f"find {there} -mindepth 1 -maxdepth 1 ! -name {kept} -exec mv -t {aside} {{}} +",
                f"cp -a {new}/. {there}", f"chown -R --reference={aside} {there}"]
    there, aside = shlex.quote(old), shlex.quote(f"{old}.{kept}")
    return [f"mv {there} {aside}", f"cp -a {new} {there}", f"chown -R --reference={aside} {there}"]

"""The real ``pg_upgrade --check``, against an empty cluster that is made for it.

It runs beside the living server, on its machine, as the owner of its data directory, and
changes nothing. Where that cannot be, it is unseen.

Source: https://www.postgresql.org/docs/current/pgupgrade.html
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from dedupe.errors import DedupeError

from ..snapshots.programs import bindir_of, die_with_parent
from .rule import Look, Rule, Said

_STEP = re.compile(r"^(Checking .*?|Creating .*?)\s{2,}(.*)$")
_FILE = re.compile(r"^\s+(\S+\.txt)$", re.MULTILINE)
_SECONDS = 600


def look(at: Look) -> Iterator[Said]:
    """Run it if the target's programs were named, and fold what it complains of in."""
    if at.asked.new_bindir is None or at.target == at.catalog.major:
        return
    rows = at.catalog.rows(
        "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'"
    )
    data = Path(rows[0][0]) if rows else None
    if data is None or not at.catalog.host.startswith("/") or not _readable(data):
        yield at.unseen(
            "pg_upgrade",
            "it has to run on the server's own machine, over its socket, as root or as the owner"
            " of the data directory, by a role that may read data_directory",
        )
        return
    try:
        old = bindir_of(at.catalog.major, "postgres", named=at.asked.old_bindir)
        new = bindir_of(at.target, "pg_upgrade", "initdb", named=at.asked.new_bindir)
        with _empty_cluster(at, data, new) as (place, account):
            code, text = _run(
                [new / "pg_upgrade", "--check", "-b", old, "-B", new, "-d", data,
                 "-D", place / "new", "-U", _installer(at)],
                place, account, _environment(at),
            )
            complaints = list(_complaints(text, place))
    except DedupeError as error:
        yield at.unseen("pg_upgrade", f"{error.message}. {error.hint or ''}".strip())
        return
    except subprocess.TimeoutExpired:
        yield at.unseen("pg_upgrade", f"it did not end within {_SECONDS} seconds")
        return
    for what, message in complaints:
        yield at.blocker(f"pg_upgrade: {what}", message, "Mend what it names, and check again")
    if code and not complaints:
        told = " / ".join(text.strip().splitlines()[-6:])
        yield at.unseen("pg_upgrade", f"it ended with {code} and no complaint: {told}")


def _readable(data: Path) -> bool:
    try:
        owner = (data / "PG_VERSION").stat().st_uid
    except OSError:
        return False
    return os.geteuid() in {0, owner}


def _installer(at: Look) -> str:
    return str(at.catalog.value("SELECT rolname FROM pg_catalog.pg_roles WHERE oid = 10"))


def _environment(at: Look) -> dict[str, str]:
    dropped = ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE", "PGOPTIONS", "PGDATA")
    found = {name: text for name, text in os.environ.items() if name not in dropped}
    if password := conninfo_to_dict(at.catalog.conninfo).get("password"):
        found["PGPASSWORD"] = str(password)
    return {**found, "LC_ALL": "C.UTF-8"}


@contextmanager
def _empty_cluster(
    at: Look, data: Path, new: Path
) -> Iterator[tuple[Path, tuple[int, int] | None]]:
    """Make an empty cluster that is like the old one in all that has to be the same."""
    owner = data.stat()
    account = (owner.st_uid, owner.st_gid) if os.geteuid() == 0 else None
    place = Path(tempfile.mkdtemp(prefix="pgmend-check-"))
    try:
        if account:
            os.chown(place, *account)
        ((encoding, collate, ctype),) = at.catalog.rows(
            "SELECT pg_catalog.pg_encoding_to_char(encoding), datcollate, datctype"
            " FROM pg_catalog.pg_database"
            # Without it pg_upgrade says that it is missing.
            " ORDER BY datname = 'template0' DESC, datname = 'template1' DESC LIMIT 1"
        )
        sums = at.catalog.setting("data_checksums") == "on"
        words = [new / "initdb", "-D", place / "new", "-U", _installer(at), "-A", "trust",
                 "--no-sync", "-E", encoding, f"--lc-collate={collate}", f"--lc-ctype={ctype}"]
        if sums:
            words.append("--data-checksums")
        elif at.target >= 18:
            words.append("--no-data-checksums")
        code, text = _run(words, place, account, _environment(at))
        if code:
            raise DedupeError(f"initdb of the target failed: {text.strip().splitlines()[-1:]}")
        yield place, account
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _run(
    words: list[str | Path], place: Path, account: tuple[int, int] | None, env: dict[str, str]
) -> tuple[int, str]:
    # A file, not a pipe: a server that it starts would keep a pipe open.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        try:
            done = subprocess.run(
                [os.fspath(word) for word in words], cwd=place, env=env,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False,
                timeout=_SECONDS, user=account[0] if account else None,
                group=account[1] if account else None, extra_groups=[] if account else None,
                preexec_fn=die_with_parent,
            )
        except OSError as error:
            raise DedupeError(f"{words[0]} cannot be started: {error.strerror}") from error
        output.seek(0)
        return done.returncode, output.read()


def _complaints(text: str, place: Path) -> Iterator[tuple[str, str]]:
    """Yield each step that did not end well, with what was said of it and of its objects."""
    blocks: list[tuple[str, str, list[str]]] = []
    for line in text.splitlines():
        if step := _STEP.match(line):
            blocks.append((step[1].removeprefix("Checking ").strip(), step[2].strip(), []))
        elif blocks:
            blocks[-1][2].append(line)
    for what, ended, lines in blocks:
        said = [line.strip() for line in lines if line.strip() not in {"", "Failure, exiting"}]
        bad = ended != "ok" or ("Failure, exiting" in text and blocks[-1][0] == what)
        if not bad or not (said or ended not in {"ok", ""}):
            continue
        if "Clusters are compatible" in " ".join(said):
            continue
        message = " ".join([ended] * (ended not in {"ok", "fatal", ""}) + said)
        for named in _FILE.findall("\n".join(lines)):
            message += _listed(place, Path(named))
        yield what, message


def _listed(place: Path, named: Path) -> str:
    """Return what a file of pg_upgrade's lists; it will be removed with the empty cluster."""
    for file in [named] if named.is_absolute() else sorted(place.rglob(named.name)):
        try:
            lines = [one.strip() for one in file.read_text("utf-8", "replace").splitlines()]
        except OSError:
            continue
        return ": " + "; ".join(line for line in lines[:40] if line)
    return ""


RULE = Rule(name="pg-upgrade", scope="cluster", look=look)

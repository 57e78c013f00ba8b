"""pgBackRest and Barman as their packages install them, each beside a server that it saves."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from dedupe.lab import Server, server
from dedupe.lab.binaries import account

#: the major version that the distribution's pgBackRest and Barman know
BINDIR = Path("/usr/lib/postgresql/15/bin")


@dataclass(frozen=True)
class Backed:
    """A server, and the tool that saves it, set up but for a first backup."""

    server: Server
    #: what the settings of the preset say
    preset: str
    target: str
    tool: tuple[str, ...]
    #: where the tool keeps everything
    repository: Path

    def run(self, *arguments: str) -> str:
        return run(*self.tool, *arguments)

    @property
    def settings(self) -> dict[str, object]:
        return {"preset": self.preset, "target": self.target, "tool": list(self.tool)}

    def toml(self, name: str) -> str:
        words = ", ".join(f'"{word}"' for word in self.tool)
        return (
            f'[guard.providers.{name}]\nkind = "command"\npreset = "{self.preset}"\n'
            f'target = "{self.target}"\ntool = [{words}]\n'
        )


def run(*argv: str) -> str:
    ended = subprocess.run(
        argv, capture_output=True, text=True, check=False, cwd="/", timeout=120
    )
    assert ended.returncode == 0, f"{argv}: {ended.stdout}{ended.stderr}"
    return ended.stdout


def needed(*programs: str) -> None:
    """Skip the test where a program is not there, or fail it if that is asked for."""
    missing = [name for name in programs if shutil.which(name) is None]
    if not missing:
        return
    if os.environ.get("PGMEND_REQUIRE_BACKUP_TOOLS") == "1":
        pytest.fail(f"there is no {missing[0]} and PGMEND_REQUIRE_BACKUP_TOOLS=1 is set")
    pytest.skip(f"there is no {missing[0]} on this machine")


def as_account() -> tuple[str, ...]:
    """Return what starts a program under the account that the lab's server runs under."""
    by = account()
    if not by.other:
        return ()
    return ("setpriv", f"--reuid={by.uid}", f"--regid={by.gid}", "--clear-groups")


@contextmanager
def room() -> Iterator[Path]:
    """Give a directory of that account, straight under the temporary one."""
    where = Path(tempfile.mkdtemp(prefix="pgmend-tools-")).resolve()
    try:
        if account().other:
            os.chown(where, account().uid, account().gid)
        yield where
    finally:
        shutil.rmtree(where)


def owned(path: Path, text: str) -> Path:
    path.write_text(text)
    if account().other:
        os.chown(path, account().uid, account().gid)
    return path


@contextmanager
def pgbackrest() -> Iterator[Backed]:
    """Run a server whose segments pgBackRest archives into a repository on the same disk."""
    needed("pgbackrest", str(BINDIR / "postgres"))
    settings = {"archive_mode": "on", "wal_level": "replica"}
    with room() as where, server(bindir=BINDIR, settings=settings) as started:
        config = owned(
            where / "pgbackrest.conf",
            f"[global]\nrepo1-path={where}/repo\nrepo1-retention-full=9\nlog-level-file=off\n"
            f"lock-path={where}/lock\nspool-path={where}/spool\nstart-fast=y\ncompress-type=none\n"
            "archive-timeout=20\n"
            f"[main]\npg1-path={started.data}\npg1-socket-path={started.host}\n"
            f"pg1-user={started.user}\n",
        )
        tool = (*as_account(), "pgbackrest", f"--config={config}")
        with psycopg.connect(started.dsn(), autocommit=True) as connection:
            connection.execute(
                "ALTER SYSTEM SET archive_command ="
                f" 'pgbackrest --config={config} --stanza=main archive-push %p'"
            )
            connection.execute("SELECT pg_reload_conf()")
        run(*tool, "--stanza=main", "stanza-create")
        yield Backed(started, "pgbackrest", "main", tool, where / "repo")


@contextmanager
def barman() -> Iterator[Backed]:
    """Run a server whose log Barman receives through a slot, as in its streaming set-up."""
    needed("barman", str(BINDIR / "postgres"))
    with room() as where, server(bindir=BINDIR, settings={"wal_level": "replica"}) as started:
        by = run(*as_account(), "id", "-un").strip()
        config = owned(
            where / "barman.conf",
            f"[barman]\nbarman_user = {by}\nbarman_home = {where}/home\n"
            f"barman_lock_directory = {where}\nlog_file = {where}/barman.log\n"
            f"[main]\ndescription = the server\nbackup_method = postgres\n"
            f"conninfo = host={started.host} user={started.user} dbname=postgres\n"
            f"streaming_conninfo = host={started.host} user={started.user}\n"
            "streaming_archiver = on\nslot_name = barman\n"
            f"immediate_checkpoint = true\npath_prefix = {BINDIR}\n",
        )
        tool = (*as_account(), "barman", "-c", str(config))
        run(*tool, "receive-wal", "--create-slot", "main")
        receiving = subprocess.Popen(
            (*tool, "receive-wal", "main"), cwd="/",
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            streaming = where / "home" / "main" / "streaming"
            _until(lambda: [*streaming.glob("*1.partial")], "Barman receives nothing")
            with psycopg.connect(started.dsn(), autocommit=True) as connection:
                connection.execute("SELECT pg_switch_wal()")
                # It archives a segment only once it receives the next one.
                connection.execute("CREATE TABLE afterwards ()")
            _until(lambda: [*streaming.glob("*2.partial")], "Barman received no segment")
            run(*tool, "archive-wal", "main")
            yield Backed(started, "barman", "main", tool, where / "home")
        finally:
            receiving.terminate()
            receiving.wait(30)


def _until(holds: Callable[[], object], otherwise: str) -> None:
    limit = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < limit, otherwise
        time.sleep(0.05)


@contextmanager
def flipped(path: Path, at: int) -> Iterator[None]:
    """Flip one bit of a byte of a file for as long as the block lasts."""
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))
        file.flush()
        try:
            yield
        finally:
            file.seek(at)
            file.write(bytes([byte]))

"""pgBackRest and Barman as their packages install them, each beside a cluster that it saves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from .clusters import DEBIAN_15, USER, Cluster, cluster, with_shop


@dataclass(frozen=True)
class Backed:
    """A cluster, and the tool that saves it, set up but for a first backup."""

    cluster: Cluster
    #: what the settings of the preset say
    preset: str
    tool: tuple[str, ...]
    #: where the tool keeps everything
    repository: Path

    @property
    def settings(self) -> dict[str, object]:
        return {"kind": "command", "preset": self.preset, "target": "main",
                "tool": list(self.tool)}

    @property
    def toml(self) -> str:
        """Write the settings as a file has them; lists of words are the same in JSON."""
        lines = [f"{name} = {json.dumps(value)}" for name, value in self.settings.items()]
        return "\n".join(["[guard.providers.vault]", *lines, ""])


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


def _as_owner(cluster: Cluster) -> tuple[str, ...]:
    """Return what starts a program under the account of the cluster."""
    by = cluster.account
    if not by.other:
        return ()
    return ("setpriv", f"--reuid={by.uid}", f"--regid={by.gid}", "--clear-groups")


def _written(cluster: Cluster, name: str, text: str) -> Path:
    path = cluster.root / name
    path.write_text(text)
    if cluster.account.other:
        os.chown(path, cluster.account.uid, cluster.account.gid)
    return path


@contextmanager
def pgbackrest() -> Iterator[Backed]:
    """Run a cluster whose segments pgBackRest archives into a repository on the same disk."""
    needed("pgbackrest", str(DEBIAN_15 / "postgres"))
    with cluster(DEBIAN_15) as made:
        config = _written(
            made, "pgbackrest.conf",
            f"[global]\nrepo1-path={made.root}/repo\nrepo1-retention-full=9\nstart-fast=y\n"
            # Every byte of a file counts then; of a compressed one some do not.
            "compress-type=none\n"
            f"log-level-file=off\nlock-path={made.root}/lock\narchive-timeout=20\n"
            f"[main]\npg1-path={made.data}\npg1-socket-path={made.root}\npg1-user={USER}\n",
        )
        push = f"pgbackrest --config={config} --stanza=main archive-push %p"
        with (made.data / "postgresql.conf").open("a") as conf:
            conf.write(f"archive_mode = on\narchive_command = '{push}'\n")
        made.stop()
        made.start()
        tool = (*_as_owner(made), "pgbackrest", f"--config={config}")
        run(*tool, "--stanza=main", "stanza-create")
        yield Backed(with_shop(made), "pgbackrest", tool, made.root / "repo")


@contextmanager
def barman() -> Iterator[Backed]:
    """Run a cluster whose log Barman receives through a slot, as in its streaming set-up."""
    needed("barman", str(DEBIAN_15 / "postgres"))
    with cluster(DEBIAN_15) as made:
        by = run(*_as_owner(made), "id", "-un").strip()
        config = _written(
            made, "barman.conf",
            f"[barman]\nbarman_user = {by}\nbarman_home = {made.root}/home\n"
            f"barman_lock_directory = {made.root}\nlog_file = {made.root}/barman.log\n"
            "[main]\ndescription = the server\nbackup_method = postgres\n"
            f"conninfo = host={made.root} user={USER} dbname=postgres\n"
            f"streaming_conninfo = host={made.root} user={USER}\n"
            "streaming_archiver = on\nslot_name = barman\n"
            f"immediate_checkpoint = true\npath_prefix = {DEBIAN_15}\n",
        )
        tool = (*_as_owner(made), "barman", "-c", str(config))
        run(*tool, "receive-wal", "--create-slot", "main")
        receiving = subprocess.Popen(
            (*tool, "receive-wal", "main"), cwd="/",
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            home = made.root / "home"
            streaming = home / "main" / "streaming"
            _until(lambda: [*streaming.glob("*1.partial")], "Barman receives nothing")
            # It archives a segment only once it receives the next one.
            made.run("postgres", "SELECT pg_switch_wal()")
            with_shop(made)
            _until(lambda: [*streaming.glob("*2.partial")], "Barman received no segment")
            run(*tool, "archive-wal", "main")
            yield Backed(made, "barman", tool, home)
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

"""A server on a directory that outlives it, so that tables need not be built again."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from dedupe.lab import Server, binaries
from dedupe.lab.held import SETTINGS, SUPERUSER

from .failure import UnfitCache
from .sockets import PORT, socket_directory

#: seconds for a start, with recovery, and for a stop
_PATIENCE = 300.0


@contextmanager
def cluster(keep: Path, settings: Mapping[str, str]) -> Iterator[Server]:
    """Start a server on ``keep``, with a cluster that is made at the first time; stop it.

    Raises UnfitCache when the directory cannot be used, or is used by another benchmark.
    """
    by = binaries.account()
    keep = keep.absolute()
    try:
        keep.mkdir(parents=True, exist_ok=True)
        claim = os.open(keep / "claim", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise UnfitCache(f"{keep} cannot be used: {error.strerror}") from error
    try:
        fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(claim)
        raise UnfitCache(f"another benchmark uses {keep}") from error
    try:
        with socket_directory("pgmend-kept-") as room:
            if by.other:
                os.chown(room, by.uid, by.gid)
            bindir = binaries.usable(binaries.find(), by, room)
            _make(keep, bindir, by)
            with _started(keep, bindir, by, settings, room) as dsn:
                yield Server(dsn)
    finally:
        os.close(claim)


def _make(keep: Path, bindir: Path, by: binaries.Account) -> None:
    """Make the cluster, unless it is there; what an interrupted initdb left is removed."""
    data, log = keep / "data", keep / "log"
    log.touch(mode=0o600)
    if (data / "global" / "pg_control").exists() and (keep / "made").exists():
        return
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    if by.other:
        os.chown(data, by.uid, by.gid)
    with log.open("ab") as output:
        code = subprocess.run(
            [
                bindir / "initdb", "--pgdata", data, "--no-sync", "--username", SUPERUSER,
                "--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8",
            ],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, cwd="/",
            **by.dropped,
        ).returncode  # fmt: skip
    if code:
        raise UnfitCache(
            f"no cluster could be made in {keep}"
            + (f"; can the account {by.name} reach it?" if by.other else "")
            + f"\n{_last_words(log)}"
        )
    (keep / "made").touch()


@contextmanager
def _started(
    keep: Path, bindir: Path, by: binaries.Account, settings: Mapping[str, str], room: Path
) -> Iterator[str]:
    data, log = keep / "data", keep / "log"
    _end_orphan(data, bindir, by)
    argv = [str(bindir / "postgres"), "-D", str(data), "-p", str(PORT)]
    for name, value in {
        **SETTINGS,
        "listen_addresses": "",
        "unix_socket_directories": str(room),
        "unix_socket_permissions": "0700",
        **settings,
    }.items():
        argv += ["-c", f"{name}={value}"]
    with log.open("ab") as output:
        # In a session of its own: Ctrl-C is the benchmark's to hear, and stops the server last.
        server = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/",
            start_new_session=True, env={**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            **by.dropped,
        )  # fmt: skip
    try:
        dsn = make_conninfo(host=str(room), port=PORT, user=SUPERUSER, dbname="postgres")
        _wait(server, dsn, log)
        yield dsn
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            server.send_signal(signal.SIGQUIT)
            server.wait()


def _wait(server: subprocess.Popen[bytes], dsn: str, log: Path) -> None:
    limit = time.monotonic() + _PATIENCE
    while True:
        try:
            psycopg.connect(dsn).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > limit:
                raise UnfitCache(f"the server did not start:\n{_last_words(log)}") from None
            time.sleep(0.05)


def _end_orphan(data: Path, bindir: Path, by: binaries.Account) -> None:
    """Stop the server of a benchmark that was killed; the claim says that nobody uses it."""
    if (data / "postmaster.pid").exists():
        subprocess.run(
            [bindir / "pg_ctl", "stop", "-D", data, "-m", "fast", "-w"],
            capture_output=True, check=False, cwd="/", **by.dropped,
        )  # fmt: skip


def _last_words(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").strip().splitlines()[-6:])

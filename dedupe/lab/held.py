"""A server of ours, seen from its owner: the other end of the keeper's pipe."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import LabError
from . import keeper
from .binaries import Account
from .home import Home

#: seconds for a start (with crash recovery) or a stop
PATIENCE = 300.0
PORT = 5432
SUPERUSER = "postgres"

#: what a server of ours runs with unless it is told otherwise
SETTINGS: Mapping[str, str] = {
    # What tells commands that nothing here needs a snapshot first.
    "cluster_name": "pgmend-lab",
    "fsync": "off",
    "max_connections": "100",
    # As on a solid-state disk: the planner then answers from an index alone where it can.
    "random_page_cost": "1.1",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Held:
    """One cluster and the server on it; ``close`` ends both."""

    def __init__(
        self, where: Home, bindir: Path, by: Account, settings: Mapping[str, str]
    ) -> None:
        self.home = where
        self.bindir = bindir
        self.pid: int | None = None
        self._settings = settings
        self._turn = threading.Lock()
        described = {"root": str(where.root), "owner": os.getpid(), "options": by.dropped}
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-X", "utf8", keeper.__file__, json.dumps(described)],
            cwd="/",
            env=_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
            pass_fds=[where.claim],
        )

    def initialize(self) -> None:
        """Make the cluster. Raises LabError."""
        answer = self._ask(
            run=[
                str(self.bindir / "initdb"), "--pgdata", str(self.home.data), "--no-sync",
                "--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8",
                "--locale", "C.UTF-8",
            ]
        )  # fmt: skip
        if answer["code"] != 0:
            raise self._failed("initdb failed")

    def start(self) -> None:
        """Start the server and wait for it. Raises LabError."""
        settings = {
            **SETTINGS,
            "listen_addresses": "",
            "unix_socket_directories": str(self.home.root),
            "unix_socket_permissions": "0700",
            **self._settings,
        }
        argv = [str(self.bindir / "postgres"), "-D", str(self.home.data), "-p", str(PORT)]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        limit = time.monotonic() + PATIENCE
        while True:
            self.pid = int(self._ask(start=argv)["pid"])
            while not self._ready() and self.code() is None:
                if time.monotonic() > limit:
                    self.stop(signal.SIGQUIT)
                    raise self._failed(f"the server was not ready after {PATIENCE:.0f} seconds")
                time.sleep(0.005)
            if self.code() is None:
                return
            # Children of a killed postmaster need a moment to notice.
            last = self.home.last_lines(3)
            if "shared memory block" not in last and "lock file" not in last:
                raise self._failed("the server did not start")
            if time.monotonic() > limit - PATIENCE + keeper.GRACE:
                raise self._failed("the server did not start")
            time.sleep(0.1)

    def stop(self, number: signal.Signals) -> None:
        """Send a signal and wait for the end. Raises LabError."""
        if self.pid is None:
            return
        os.kill(self.pid, number)
        limit = time.monotonic() + PATIENCE
        while self.code() is None:
            if time.monotonic() > limit:
                raise self._failed(f"the server did not stop within {PATIENCE:.0f} seconds")
            time.sleep(0.005)

    def code(self) -> int | None:
        """Return None while the server runs, else what it ended with; 0 before any start."""
        code = self._ask(poll=True)["code"] if self.pid is not None else 0
        if code is not None:
            self.pid = None
        return None if code is None else int(code)

    def close(self) -> None:
        """Let the keeper end the server and remove the directory, and wait for it."""
        for stream in (self._keeper.stdin, self._keeper.stdout):
            if stream:
                stream.close()
        try:
            self._keeper.wait(4 * keeper.GRACE)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        if self.home.root.exists():
            keeper.end_orphan(self.home.root)
        os.close(self.home.claim)

    def _ready(self) -> bool:
        """Read the lock file; a stale one also says ready, under another process."""
        try:
            lines = (self.home.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

    def _ask(self, **request: Any) -> dict[str, Any]:
        answer = b""
        with self._turn:
            try:
                if self._keeper.stdin and self._keeper.stdout:
                    self._keeper.stdin.write(json.dumps(request).encode() + b"\n")
                    answer = self._keeper.stdout.readline()
            except (OSError, ValueError):
                pass
        if not answer:
            raise LabError("the process that keeps the server is gone, and the server with it")
        answered: dict[str, Any] = json.loads(answer)
        if "error" in answered:
            raise LabError(f"PostgreSQL could not be started: {answered['error']}")
        return answered

    def _failed(self, what: str) -> LabError:
        return LabError(f"{what}; its last words:\n{self.home.last_lines()}")


def _environment() -> dict[str, str]:
    """Keep out what would name another server or language."""
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "TZ": "UTC"}

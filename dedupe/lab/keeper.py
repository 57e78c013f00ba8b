"""The process between an owner and its server: when the owner is gone, both go.

It runs as a script, in a session of its own, and imports nothing but the
standard library. Its input is a pipe from the owner: requests, a JSON object a
line, each answered by one line. At the pipe's end it stops the server at once
and removes the directory, whatever the owner died of.

    {"run": [program, …]}    run to its end          {"code": 0}
    {"start": [program, …]}  start the server        {"pid": 4711}
    {"poll": true}           has the server ended?   {"code": null}
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: seconds that an immediate shutdown may take before the server is killed
GRACE = 15.0


def postmaster(data: Path) -> int | None:
    """Return the process that serves ``data``, by its lock file; None without one."""
    try:
        return int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (OSError, ValueError):
        return None


def end_orphan(root: Path) -> None:
    """Stop a server whose owner and keeper are gone, and remove its directory."""
    data = root / "data"
    pid = postmaster(data)
    for number in (signal.SIGQUIT, signal.SIGKILL):
        limit = time.monotonic() + GRACE
        # The number may have been given to another process since.
        while pid and _works_in(pid, data) and time.monotonic() < limit:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                break
            time.sleep(0.02)
    remove(root)


def remove(root: Path) -> None:
    """Remove a directory, even while the last processes of its server still end."""
    limit = time.monotonic() + GRACE
    while root.exists() and time.monotonic() < limit:
        shutil.rmtree(root, ignore_errors=True)
        if root.exists():
            time.sleep(0.02)


def _works_in(pid: int, data: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == data
    except OSError:
        return False


class Keeper:
    """The server's process and the answers to requests about it."""

    def __init__(self, root: Path, options: dict[str, Any]) -> None:
        self.root = root
        self.options = options
        self.server: subprocess.Popen[bytes] | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked; a program that cannot be started is an ``error``."""
        try:
            if "run" in request:
                return {"code": self._start(request["run"]).wait()}
            if "start" in request:
                self.server = self._start(request["start"])
                return {"pid": self.server.pid}
            return {"code": self.server.poll() if self.server else 0}
        except OSError as error:
            return {"error": str(error)}

    def end(self) -> None:
        """Stop the server without ceremony and remove all it wrote."""
        if self.server and self.server.poll() is None:
            self.server.send_signal(signal.SIGQUIT)
            try:
                self.server.wait(GRACE)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
        remove(self.root)

    def _start(self, argv: list[str]) -> subprocess.Popen[bytes]:
        with (self.root / "log").open("r+b") as log:
            log.seek(0, os.SEEK_END)
            return subprocess.Popen(
                argv,
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **self.options,
            )


def _stop(*_: object) -> None:
    sys.exit(0)


def main() -> None:
    """Serve one owner until it is gone."""
    settings = json.loads(sys.argv[1])
    keeper = Keeper(Path(settings["root"]), settings["options"])
    # Handlers, unlike ignored signals, are not inherited by the server.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, _stop)
    pending = b""
    try:
        # A process forked by the owner may hold the pipe open: look at the parent, too.
        while os.getppid() == settings["owner"]:
            if not select.select([0], [], [], 0.5)[0]:
                continue
            received = os.read(0, 65536)
            if not received:
                break
            *lines, pending = (pending + received).split(b"\n")
            for line in lines:
                os.write(1, json.dumps(keeper.answer(json.loads(line))).encode() + b"\n")
    except BrokenPipeError:
        pass
    finally:
        keeper.end()


if __name__ == "__main__":
    main()

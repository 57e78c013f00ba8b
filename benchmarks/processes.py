"""A child's processes, looked at while they work: their memory, their files, their limits.

Source: proc(5) (VmHWM, VmRSS)
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: seconds between two looks
LOOK_SECONDS = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one run may take; None: as much as there is."""

    seconds: float | None = None
    #: memory that all processes of the client hold at one moment
    rss_bytes: int | None = None


NO_LIMITS = Limits()


class Watch(threading.Thread):
    """Looks at a process group until it is stopped, and ends the group at a limit.

    The child must lead a process group of its own.
    """

    def __init__(self, pid: int, scratch: Path, limits: Limits) -> None:
        super().__init__(name="watch", daemon=True)
        self._pid = pid
        self._scratch = scratch
        self._limits = limits
        self._since = time.monotonic()
        self._ended = threading.Event()
        self._peaks: dict[int, int] = {}
        #: most bytes of the files in the scratch directory
        self.disk_bytes = 0
        #: why the group was ended
        self.over: str | None = None

    def run(self) -> None:
        """Look until ``stop``."""
        while True:
            held = 0
            for pid in tree(self._pid):
                status = memory(pid)
                self._peaks[pid] = max(self._peaks.get(pid, 0), status.get("VmHWM", 0))
                held += status.get("VmRSS", 0)
            self.disk_bytes = max(self.disk_bytes, _files(self._scratch))
            if self.over is None:
                self._limit(held)
            if self._ended.wait(LOOK_SECONDS):
                return

    def stop(self) -> None:
        """Look once more at the files, for a short run may have ended between two looks."""
        self._ended.set()
        self.join()
        self.disk_bytes = max(self.disk_bytes, _files(self._scratch))

    def peak(self) -> int:
        """Return the sum of all processes' peaks: never less than what they held together."""
        return sum(self._peaks.values())

    def _limit(self, held: int) -> None:
        passed = time.monotonic() - self._since
        most = self._limits
        if most.rss_bytes is not None and held > most.rss_bytes:
            self.over = f"over {most.rss_bytes / 1e9:.1f} GB of memory after {passed:.0f} s"
        elif most.seconds is not None and passed > most.seconds:
            self.over = f"not done after {most.seconds:.0f} s"
        if self.over:
            end_group(self._pid)


def end_group(pid: int) -> None:
    """Kill a process group; nothing if it has ended."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def tree(pid: int) -> Iterator[int]:
    """Yield a process and all below it."""
    yield pid
    try:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text("ascii").split():
                yield from tree(int(child))
    except OSError:
        return


def memory(pid: int | str) -> dict[str, int]:
    """Return a process's memory lines (VmHWM, VmRSS, RssAnon) in bytes; none if it has ended."""
    found = {}
    try:
        for line in Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name in {"VmHWM", "VmRSS", "RssAnon"}:
                found[name] = int(value.split()[0]) << 10
    except OSError:
        pass
    return found


def _files(directory: Path) -> int:
    """Return the bytes of all files below a directory that others write to meanwhile."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118 -- looked at often
            except OSError:
                continue
    return total

"""What a checkpoint counts is on the disk before the checkpoint is, by the kernel's own record."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dedupe import Run, RunStatus

from .heap import observer

ROOT = Path(__file__).parents[2]
CLIENT = """
import sys, dedupe
key = dedupe.MatchKey.from_columns("crowd", "name")
dedupe.scan(sys.argv[1], key, run=sys.argv[2], memory="8MiB")
"""
#: what makes, changes or renames a file, or makes a change last
CALLS = (
    "open,openat,creat,write,writev,pwrite64,pwritev,pwritev2,copy_file_range,sendfile,"
    "ftruncate,truncate,fallocate,mmap,fdatasync,fsync,sync_file_range,"
    "unlink,unlinkat,rename,renameat,renameat2"
)
#: a call that worked or, in another thread's middle, was begun
CALL = re.compile(r"\d+ +(\w+)\((.*?)(?:<unfinished \.\.\.>|\) += (?:\d+|0x\w+)(?:<.*>)?)\n")


@pytest.fixture
def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail("strace is not installed, and CI has to run this test")
        pytest.skip("strace is not installed; it records the system calls")
    return found


class Disk:
    """A run directory as the record tells it, and what of it a power loss could still take."""

    def __init__(self) -> None:
        #: files with bytes, and files with names, that need not last yet
        self.dirty: set[str] = set()
        self.nameless: set[str] = set()
        self.known: set[str] = set()
        #: calls that touched the spill
        self.spill_calls: set[str] = set()
        self.spilled = False
        #: cuts of the spill: as it is opened, and as the main pass is over
        self.cuts = 0
        self.commits = 0
        #: commits of the state that come after writes to the spill
        self.checkpoints = 0

    def take(self, call: str, names: list[str], flags: str) -> None:
        """Follow one call on files of the directory; its own name is the empty one."""
        name = names[0]
        if "spill" in names:
            self.spill_calls.add(call)
        if call == "openat" and "O_CREAT" in flags and name not in self.known:
            self.known.add(name)
            self.nameless.add(name)
        elif call == "ftruncate":
            self.cuts += name == "spill"
        elif name == "spill" and call == "pwrite64" and self.cuts > 1:
            # A sweep's records are read again after a failure, so no checkpoint counts them.
            pass
        elif call in {"pwrite64", "write"}:
            self.dirty.add(name)
            self.spilled = self.spilled or name == "spill"
        elif call in {"fdatasync", "fsync"}:
            self.dirty.discard(name)
            if not name:
                self.nameless.clear()
        elif call == "rename":
            assert name not in self.dirty, f"{name} takes its place before it lasts"
            self.nameless.add(names[1])
        elif call == "unlink" and name == "state.sqlite-journal":
            # SQLite commits by this.
            self.commits += 1
            assert "spill" not in self.dirty, f"commit {self.commits} counts what may be lost"
            assert not self.nameless & {"spill", "groups.sqlite", "state.sqlite"}
            self.checkpoints += self.spilled
            self.spilled = False


def test_the_spill_lasts_before_its_checkpoint(strace: str, database: str, tmp_path: Path) -> None:
    """Scenario: the system calls of a scan are recorded.
    Outcome: before every commit of the state what was written to the spill was synced, and its
    name, too; the groups last before the run says that it is finished.
    """
    run, trace = tmp_path / "run", tmp_path / "trace"
    with observer(database) as connection:
        connection.execute(
            "CREATE TABLE crowd (id int8 PRIMARY KEY, name text);"
            " INSERT INTO crowd SELECT n, 'name ' || n % 299990 FROM generate_series(1, 300000) n"
        )
    done = subprocess.run(
        [strace, "-f", "-y", "-s", "0", "-e", f"trace={CALLS}", "-o", str(trace),
         sys.executable, "-c", CLIENT, database, str(run)],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    if "PTRACE" in done.stderr or "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr

    disk = Disk()
    files = re.compile(rf"[<\"]{re.escape(str(run))}(?:/([\w.-]+))?[>\"]")
    record = trace.read_text()
    assert not re.search(rf"sync\(\d+<{re.escape(str(run))}.*= -1", record), "a sync failed"
    for call, arguments in CALL.findall(record):
        if names := files.findall(arguments):
            disk.take(call, names, arguments)
    finished = Run.open(run)
    assert finished.status is RunStatus.FINISHED
    assert len(list(finished.groups())) == 10
    assert disk.spill_calls == {"openat", "ftruncate", "pwrite64", "fdatasync"}
    assert disk.cuts == 2
    assert disk.checkpoints >= 3
    assert disk.commits > disk.checkpoints
    assert "groups.sqlite.new" in disk.known

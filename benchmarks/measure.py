"""One child process, measured: its time, the memory of all its processes, the server's files.

Memory is the sum of the peaks of every process of the child's tree, so never less
than what they held together. Temporary bytes are what the server counts for the
table's database once the child's sessions have ended.

Sources: proc(5) (VmHWM), getrusage(2),
https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-DATABASE-VIEW
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .backends import Backends, end_sessions
from .failure import BenchmarkFailed, OverLimit
from .processes import NO_LIMITS, Limits, Watch, end_group, memory

ROOT = Path(__file__).resolve().parents[1]
#: application_name of the benchmark's own sessions
OWN_NAME = "pgmend benchmark"
#: seconds that the child's sessions may take to end after it
_PATIENCE = 60.0
#: what a person's shell might set and a measurement must not depend on
_LEFT_OUT = {"DATABASE_URL", "PGMEND_CONFIG", "PGDATABASE", "PGSERVICE"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a child process did and took."""

    #: what it wrote to its standard output
    output: str
    #: seconds from its start to its end
    seconds: float
    #: sum of the peaks of all its processes
    rss_bytes: int
    #: most private memory of the sessions that served it; None: a server of another machine
    server_private_bytes: int | None
    #: most bytes of the files that it had in ``scratch``
    disk_bytes: int
    #: what the server wrote to temporary files meanwhile
    temp_bytes: int
    temp_files: int


def measured(
    argv: Sequence[str],
    *,
    dsn: str,
    scratch: Path,
    codes: Collection[int] = (0,),
    limits: Limits = NO_LIMITS,
) -> Measured:
    """Run a program in ``scratch`` to its end, alone on the database ``dsn``.

    Raises BenchmarkFailed when it ends with another code than ``codes``, and
    OverLimit when it was ended; its sessions are ended then, too.
    """
    bytes_before, files_before = _temporary(dsn)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        backends = Backends(dsn, OWN_NAME)
        backends.start()
        started = time.monotonic()
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=errors,
            cwd=scratch, env=environment(dsn), process_group=0,
        )  # fmt: skip
        watch = Watch(child.pid, scratch, limits)
        watch.start()
        try:
            _, status, usage = os.wait4(child.pid, 0)
            seconds = time.monotonic() - started
            child.returncode = os.waitstatus_to_exitcode(status)
        except BaseException:
            end_group(child.pid)
            child.wait()
            raise
        finally:
            watch.stop()
            backends.stop()
        if watch.over or child.returncode not in codes:
            # What it started may have outlived it.
            end_group(child.pid)
            end_sessions(dsn, OWN_NAME)
            _temporary(dsn)
            if watch.over:
                raise OverLimit(watch.over)
            raise BenchmarkFailed(
                f"{' '.join(argv[1:4])} … ended with {child.returncode}: {_text(errors).strip()}"
            )
        bytes_after, files_after = _temporary(dsn)
        return Measured(
            output=_text(output),
            seconds=seconds,
            rss_bytes=max(watch.peak(), _last_word(usage.ru_maxrss << 10)),
            server_private_bytes=backends.private_bytes,
            disk_bytes=watch.disk_bytes,
            temp_bytes=bytes_after - bytes_before,
            temp_files=files_after - files_before,
        )


def open_target(dsn: str) -> str:
    """Return the connection string without the password; the child has it by its environment."""
    settings = conninfo_to_dict(dsn)
    settings.pop("password", None)
    return make_conninfo("", **settings)


def own_peak() -> int:
    """Return the most bytes that this very process has held."""
    return memory("self").get("VmHWM", 0)


def _last_word(maxrss: int) -> int:
    """Take the kernel's own figure where it says something about the child.

    A child begins with its parent's peak in that figure, so up to there it tells nothing.
    """
    return maxrss if maxrss > own_peak() else 0


def environment(dsn: str) -> dict[str, str]:
    """Return what a child gets: the benchmark's modules, the password, nobody's own settings."""
    given = {name: value for name, value in os.environ.items() if name not in _LEFT_OUT}
    given["PYTHONPATH"] = str(ROOT)
    password = conninfo_to_dict(dsn).get("password")
    if password:
        given["PGPASSWORD"] = str(password)
    return given


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _temporary(dsn: str) -> tuple[int, int]:
    """Return the database's count of temporary bytes and files, all sessions told.

    A session adds its counts before it leaves pg_stat_activity.
    """
    limit = time.monotonic() + _PATIENCE
    with psycopg.connect(dsn, autocommit=True, application_name=OWN_NAME) as connection:
        while True:
            row = connection.execute(
                "SELECT (SELECT count(*) FROM pg_stat_activity a WHERE a.datname = d.datname"
                " AND backend_type IN ('client backend', 'parallel worker')"
                " AND application_name <> %s), temp_bytes, temp_files"
                " FROM pg_stat_database d WHERE datname = current_database()",
                [OWN_NAME],
            ).fetchone()
            if row is not None and row[0] == 0:
                return int(row[1]), int(row[2])
            if time.monotonic() > limit:
                raise BenchmarkFailed("other sessions use the benchmark's database")
            time.sleep(0.05)

"""Somebody else on the server, who writes now and then.

Where nobody writes, a scan has nothing to sweep and leaves the sweep out. A live
server never gives that chance, so the benchmark does not either. Each write changes a
row and is waited for until it is on the server's disk, as an application's are.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from .failure import BenchmarkFailed
from .measure import OWN_NAME

#: seconds between two writes
_EVERY = 0.05


@contextmanager
def bystander(dsn: str) -> Iterator[None]:
    """Write to a table of its own all the while. Raises BenchmarkFailed."""
    ended = threading.Event()
    failed: list[psycopg.Error] = []

    def write() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True, application_name=OWN_NAME) as connection:
                connection.execute("CREATE TABLE bystander AS SELECT 0::int8 AS writes")
                while not ended.wait(_EVERY):
                    connection.execute("UPDATE bystander SET writes = writes + 1")
                connection.execute("DROP TABLE bystander")
        except psycopg.Error as error:
            failed.append(error)

    thread = threading.Thread(target=write, name="bystander", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failed:
        raise BenchmarkFailed(f"nobody wrote beside the scan: {failed[0]}") from failed[0]

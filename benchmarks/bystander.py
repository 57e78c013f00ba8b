"""Somebody else on the server, who commits now and then.

Where nobody writes, a scan has nothing to sweep and leaves the sweep out. A live
server never gives that chance, so the benchmark does not either.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from .failure import BenchmarkFailed
from .measure import OWN_NAME

#: seconds between two commits
_EVERY = 0.05


@contextmanager
def bystander(dsn: str) -> Iterator[None]:
    """Let transactions end all the while; they change no row. Raises BenchmarkFailed."""
    ended = threading.Event()
    failed: list[psycopg.Error] = []

    def commit() -> None:
        try:
            with psycopg.connect(dsn, autocommit=True, application_name=OWN_NAME) as connection:
                while not ended.wait(_EVERY):
                    connection.execute("SELECT pg_current_xact_id()")
        except psycopg.Error as error:
            failed.append(error)

    thread = threading.Thread(target=commit, name="bystander", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failed:
        raise BenchmarkFailed(f"nobody wrote beside the scan: {failed[0]}") from failed[0]

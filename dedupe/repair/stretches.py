"""Heaps of several tables read at a time, stretch by stretch, so that a stop is heard.

Source: https://www.postgresql.org/docs/current/ddl-system-columns.html
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from ..connect import Database
from ..relation import Relation
from ..session import Session
from .telling import Telling, stopped

R = TypeVar("R")

#: bytes of a heap that one statement reads
_BYTES = 128 << 20
_SESSIONS = 2
_LAST = 2**32 - 1
#: what has to be set in a transaction that reads stretches
BY_STRETCH: Mapping[str, str] = {
    "enable_tidscan": "on", "enable_indexscan": "off", "enable_bitmapscan": "off",
}
#: which rows of a table ``c`` are in a stretch whose bounds are $1 and $2
IN_STRETCH = (
    "c.ctid OPERATOR(pg_catalog.>=) $1::pg_catalog.tid"
    " AND c.ctid OPERATOR(pg_catalog.<) $2::pg_catalog.tid"
)


def stretches(session: Session, relation: Relation) -> Iterator[tuple[list[object], int]]:
    """Yield the bounds of each stretch of a heap, and the bytes that are read with it.

    The last one ends where the heap does by then.
    """
    (block,) = session.row("SELECT pg_catalog.current_setting('block_size')::int")
    step = _BYTES // block
    for first in range(0, relation.bytes // block + step, step):
        inside = (first + step) * block < relation.bytes
        last = first + step if inside else _LAST
        yield [f"({first},0)", f"({last},0)"], min(relation.bytes, last * block)
        if not inside:
            return


def read_tables(
    database: Database,
    relations: Iterable[Relation],
    read: Callable[[Session, Relation, Callable[[int], None]], R],
    telling: Telling,
) -> list[R]:
    """Read tables, two at a time, the largest first; return what ``read`` says of each.

    ``read`` gets a session of its own and tells how many bytes it has read, which raises
    RepairStopped where a stop was asked for or another table failed. The first error is raised.
    """
    largest = sorted(relations, key=lambda relation: -relation.bytes)
    done = {relation.oid: 0 for relation in largest}
    total = sum(relation.bytes for relation in largest)
    failed = threading.Event()

    def one(relation: Relation) -> R:
        def tell(size: int) -> None:
            done[relation.oid] = size
            telling.check_stop()
            if failed.is_set():
                raise stopped()

        with database.open("pgmend recipe") as session:
            return read(session, relation, tell)

    found = []
    with ThreadPoolExecutor(_SESSIONS) as pool:
        waiting = {pool.submit(one, relation) for relation in largest}
        try:
            while waiting:
                finished, waiting = wait(waiting, timeout=0.2)
                found += [future.result() for future in finished]
                telling.share(sum(done.values()) / max(1, total))
        except BaseException:
            failed.set()
            pool.shutdown(cancel_futures=True)
            raise
    return found

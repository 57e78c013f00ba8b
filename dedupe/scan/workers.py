"""Workers: threads that read segments, and the buffer their records meet in.

Each worker has a backend of its own and reads one segment at a time, chunk by
chunk. The thread that called the scan empties the buffer into the spill while
the workers read on; when both the buffer and the one being emptied are full,
the workers wait. All threads have ended when ``read_segments`` returns.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..connect import Database
from ..errors import DedupeError, LockNotAvailable, ServerUnavailable, SnapshotLost
from ..session import Session
from ..table import Table
from .checkpoint import Segment, UnreadableRow
from .pace import CHECKPOINT_SECONDS, FEW_BYTES, Budget, ChunkSize, pause_reason, rest
from .position import Order, Step
from .spill import RECORD_BYTES, Words

#: seconds between the tries to reach a server that went away
RETRY_SECONDS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
#: seconds that a running statement may go on after a stop was asked for
_STOP_GRACE = 0.4


@dataclass(slots=True)
class Batch:
    """Records on their way to the spill, and the positions that they reach."""

    #: of each key, the arrays of its chunks: digests and addresses
    records: list[list[tuple[Words, Words]]]
    #: of each key, rows that it leaves out
    left_out: list[int]
    #: segment number to where it goes on
    positions: dict[int, str | None] = field(default_factory=dict)
    unreadable: list[UnreadableRow] = field(default_factory=list)
    blocks: int = 0
    bytes: int = 0
    history: int = 0

    def add(self, segment: Segment, step: Step) -> None:
        """Take one chunk."""
        for place, key in enumerate(step.chunk.keys):
            if len(key.digests):
                self.records[place].append((key.digests, key.addresses))
            self.left_out[place] += key.left_out
            self.bytes += len(key.digests) * RECORD_BYTES
        self.positions[segment.number] = step.next
        self.unreadable += step.chunk.unreadable
        self.history = max(self.history, step.chunk.history)
        self.blocks += step.blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What the workers of one pass share; none of it changes."""

    database: Database
    #: application_name of their sessions
    name: str
    table: Table
    order: Order
    keys: int
    jobs: int
    nice: float
    budget: Budget
    directory: Path
    #: called with every new session, to check that the server is still the same
    greet: Callable[[Session], None]
    #: asked often; True ends the pass at a safe point
    stopped: Callable[[], bool]
    #: takes a message for the user
    tell: Callable[[str], None]


class _Buffer:
    """Where the workers' chunks meet."""

    def __init__(self, work: Work, segments: Sequence[Segment]) -> None:
        self.work = work
        self.changed = threading.Condition()
        self.queue = deque(s for s in segments if s.next is not None)
        self.batch = self._new()
        self.running = 0
        self.error: BaseException | None = None
        self.stop = False
        self.waiting: str | None = None

    def _new(self) -> Batch:
        return Batch([[] for _ in range(self.work.keys)], [0] * self.work.keys)

    def swap(self) -> Batch:
        """Take what has gathered; the workers go on into a new batch."""
        with self.changed:
            full, self.batch = self.batch, self._new()
            self.changed.notify_all()
            return full

    def add(self, segment: Segment, step: Step) -> None:
        """Add a chunk, waiting while the buffer is full; a chunk in hand is never lost."""
        with self.changed:
            while self.batch.bytes >= self.work.budget.gather_bytes and not self.ended():
                self.changed.wait(0.1)
            self.batch.add(segment, step)
            self.changed.notify_all()

    def ended(self) -> bool:
        return self.stop or self.error is not None


def read_segments(
    work: Work,
    segments: Sequence[Segment],
    flush: Callable[[Batch], None],
    tick: Callable[[str | None], None],
) -> bool:
    """Read all segments; returns True when all were read, False when stopped before.

    ``flush`` is called in the caller's thread with each batch and makes it
    durable; ``tick`` about ten times a second with the reason of a pause.
    Raises the first error of any worker, after the others have ended and what
    had been read was flushed.
    """
    buffer = _Buffer(work, segments)
    count = min(work.jobs, max(1, len(buffer.queue)))
    buffer.running = count
    sessions: list[Session | None] = [None] * count
    threads = [
        threading.Thread(
            target=_worker, args=(buffer, sessions, n), name=f"pgmend-{n}", daemon=True
        )
        for n in range(count)
    ]
    for thread in threads:
        thread.start()
    flushed = time.monotonic()
    try:
        while True:
            with buffer.changed:
                if buffer.running and buffer.batch.bytes < work.budget.gather_bytes:
                    buffer.changed.wait(0.05)
                running = buffer.running
                full = buffer.batch.bytes >= work.budget.gather_bytes
                few = buffer.batch.bytes < FEW_BYTES
            buffer.stop = buffer.stop or work.stopped()
            due = time.monotonic() - flushed > CHECKPOINT_SECONDS * (2 if few else 1)
            if full or not running or due:
                batch = buffer.swap()
                if batch.positions:
                    flush(batch)
                flushed = time.monotonic()
            tick(buffer.waiting)
            if buffer.stop and running:
                _cancel_slow(threads, sessions)
            if not running and not buffer.batch.positions:
                break
    except BaseException:
        buffer.stop = True
        _cancel_slow(threads, sessions, grace=0.0)
        raise
    finally:
        buffer.stop = True
        for thread in threads:
            thread.join()
    if buffer.error is not None and not (work.stopped() and _cancelled(buffer.error)):
        raise buffer.error
    return not buffer.queue and not work.stopped()


def _cancelled(error: BaseException) -> bool:
    return isinstance(error, DedupeError) and error.facts.get("sqlstate") == "57014"


def _cancel_slow(
    threads: Sequence[threading.Thread],
    sessions: Sequence[Session | None],
    grace: float = _STOP_GRACE,
) -> None:
    """Let the running chunks end, and cancel the statements that take too long."""
    end = time.monotonic() + grace
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    for thread, session in zip(threads, sessions, strict=True):
        if thread.is_alive() and session is not None:
            session.cancel()


def _worker(buffer: _Buffer, sessions: list[Session | None], number: int) -> None:
    try:
        size = ChunkSize(
            buffer.work.budget.chunk_bytes,
            max((leaf.block_rows for leaf in buffer.work.table.leaves), default=1),
            buffer.work.keys,
        )
        while not buffer.ended():
            try:
                segment = buffer.queue.popleft()
            except IndexError:
                return
            if not _read_segment(buffer, sessions, number, segment, size):
                buffer.queue.append(segment)
    except BaseException as error:  # noqa: BLE001 - handed to the caller's thread, whatever it is
        with buffer.changed:
            buffer.error = buffer.error or error
            buffer.changed.notify_all()
    finally:
        session = sessions[number]
        if session is not None:
            session.close()
        with buffer.changed:
            buffer.running -= 1
            buffer.changed.notify_all()


def _read_segment(
    buffer: _Buffer,
    sessions: list[Session | None],
    number: int,
    segment: Segment,
    size: ChunkSize,
) -> bool:
    """Read one segment to its end; returns False when it was left before."""
    work = buffer.work
    leaf = work.table.leaves[segment.leaf]
    position = segment.next
    tries = 0
    while position is not None:
        while (reason := pause_reason(work.directory)) and not buffer.ended():
            buffer.waiting = reason
            time.sleep(0.1)
        buffer.waiting = None
        if buffer.ended():
            return False
        started = time.monotonic()
        try:
            session = sessions[number]
            if session is None:
                session = work.database.open(work.name)
                sessions[number] = session
                work.greet(session)
            step = work.order.step(session, leaf, segment, position, size)
        except (ServerUnavailable, LockNotAvailable) as error:
            if isinstance(error, ServerUnavailable) and (broken := sessions[number]) is not None:
                broken.close()
                sessions[number] = None
            if isinstance(error, SnapshotLost) or tries == len(RETRY_SECONDS):
                raise
            work.tell(f"{error.message}; trying again in {RETRY_SECONDS[tries]:g} s")
            rest(1.0, RETRY_SECONDS[tries], buffer.ended)
            tries += 1
            continue
        tries = 0
        buffer.add(segment, step)
        position = step.next
        rest(work.nice, time.monotonic() - started, buffer.ended)
    return True



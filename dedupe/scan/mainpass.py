"""The main pass: every row once, in chunks, with a checkpoint after each flush."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from ..errors import QueryFailed, ScanStopped, ServerUnavailable
from ..progress import RunStatus
from ..session import Session
from .beginning import begun, take_horizon
from .checkpoint import UnreadableRow
from .chunk import ChunkReader
from .history import Moment, Witness
from .keyorder import KeyOrder
from .pace import rest
from .position import Order, PhysicalOrder
from .spill import Spill
from .workers import RETRY_SECONDS, Batch, read_segments
from .workplace import Workplace

#: rows and blocks that may be unreadable before the scan gives up
_MOST_UNREADABLE = 10_000
#: seconds that a stop waits for the last checkpoint to last
_STOP_SECONDS = 0.3
#: seconds between two looks at what lasts by now: each of them takes time from the readers
_LOOK_SECONDS = 0.2


class _HistoryInDoubt(Exception):
    """The server went away before what was read was sure to outlast a crash."""

    def __init__(self, cause: ServerUnavailable) -> None:
        super().__init__(cause.message)
        self.cause = cause


@contextmanager
def _in_doubt() -> Iterator[None]:
    """Tell that what was read is in doubt where the server cannot be asked."""
    try:
        yield
    except ServerUnavailable as error:
        raise _HistoryInDoubt(error) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checkpoint:
    """What is saved once ``moment`` lasts."""

    moment: Moment
    positions: Mapping[int, str | None]
    unreadable: Sequence[UnreadableRow]
    facts: Mapping[str, Any]


class MainPass:
    """Reads what is left of every segment."""

    def __init__(self, workplace: Workplace) -> None:
        self._at = workplace

    def read(self, spill: Spill) -> bool:
        """Read every segment to its end; False when stopped before."""
        if self._at.tally.phase is not RunStatus.SCANNING:
            return True
        state, tally = self._at.state, self._at.tally
        try:
            order = self._order()
        except ScanStopped:
            return False
        except QueryFailed as error:
            if self._at.stopped() and error.sqlstate == "57014":
                return False
            raise
        for delay in (*RETRY_SECONDS, None):
            try:
                if not self._read_all(spill, order):
                    return False
                break
            except _HistoryInDoubt as doubt:
                if delay is None or self._at.stopped():
                    raise doubt.cause from doubt
                why = doubt.cause.message
                self._at.teller.tell(f"{why}; reading again from the last checkpoint")
                self._at.tick()
                self._return_to_checkpoint(spill)
                rest(1.0, delay, self._at.stopped)
        with state.commit():
            state.move(RunStatus.SWEEPING)
            state.save_facts(main_length=spill.length)
        tally.phase = RunStatus.SWEEPING
        return True

    def _read_all(self, spill: Spill, order: Order) -> bool:
        """Read what is left of every segment, with a checkpoint after each flush; False: stopped.

        A checkpoint is saved once a crash of the server can no longer take back what it
        covers; until then the flushes that follow go on.
        """
        state, tally = self._at.state, self._at.tally
        waiting: deque[_Checkpoint] = deque()
        with self._witness() as (session, witness):
            if not begun(self._at):
                with _in_doubt():
                    moment = take_horizon(self._at, session, witness)
                # There is no more to save once it lasts, but nothing else before.
                waiting.append(_Checkpoint(moment=moment, positions={}, unreadable=(), facts={}))

            def flush(batch: Batch) -> None:
                # All of the batch was read by now, and the log goes on to the disk meanwhile.
                with _in_doubt():
                    moment = witness.look()
                self._at.append(spill, batch, tally.main_rows)
                tally.main_blocks += batch.blocks
                tally.history = max(tally.history, batch.history)
                spill.sync()
                waiting.append(
                    _Checkpoint(
                        moment=moment,
                        positions=batch.positions,
                        unreadable=tuple(batch.unreadable),
                        facts=tally.facts(),
                    )
                )
                self._save(waiting, witness)

            looked = 0.0

            def tick(reason: str | None) -> None:
                nonlocal looked
                if time.monotonic() - looked > _LOOK_SECONDS:
                    self._save(waiting, witness)
                    looked = time.monotonic()
                self._at.tick(reason)

            done = read_segments(self._at.work(order), state.segments(), flush, tick)
            end = time.monotonic() + _STOP_SECONDS
            while waiting and (done or time.monotonic() < end):
                self._save(waiting, witness)
                self._at.tick()
                time.sleep(0.02 if waiting else 0)
        if waiting:
            # Stopped; what is in doubt will be read again.
            self._return_to_checkpoint(spill)
        return done

    def _save(self, waiting: deque[_Checkpoint], witness: Witness) -> None:
        """Save the checkpoints that last. Raises QueryFailed where too much is unreadable."""
        state = self._at.state
        while waiting:
            checkpoint = waiting[0]
            with _in_doubt():
                if not witness.lasts(checkpoint.moment):
                    return
            with state.commit():
                state.save_positions(checkpoint.positions)
                state.save_unreadable(checkpoint.unreadable)
                state.save_facts(**checkpoint.facts)
            waiting.popleft()
            if checkpoint.unreadable and len(state.unreadable()) > _MOST_UNREADABLE:
                raise QueryFailed(
                    f"more than {_MOST_UNREADABLE:,} rows cannot be read:"
                    f" {checkpoint.unreadable[-1].message}",
                    hint="So many are not single torn pages. Look at the server's log, at its"
                    " disk and at the functions of the key.",
                )

    @contextmanager
    def _witness(self) -> Iterator[tuple[Session, Witness]]:
        """Open a session that tells what a crash of the server could still take back."""
        settled = self._at.state.fact("horizon")["xmax"] if begun(self._at) else None
        with ExitStack() as stack:
            with _in_doubt():
                session = stack.enter_context(self._at.database.open(self._at.name))
                self._at.greet(session)
                witness = Witness(session, settled=settled)
            yield session, witness

    def _return_to_checkpoint(self, spill: Spill) -> None:
        """Forget what was read since the last checkpoint."""
        spill.cut(self._at.state.fact("spill_length"))
        self._at.tally.return_to(self._at.state)

    def _order(self) -> Order:
        """Return the way to go through the table; in key order, prove the index first."""
        reader = ChunkReader(self._at.keys)
        if self._at.state.fact("order") != "key":
            return PhysicalOrder(reader)
        with self._at.database.open(self._at.name) as session:
            self._at.cancellable = session
            try:
                if self._at.stopped():
                    # Asked for before there was a statement to cancel.
                    path = self._at.path
                    raise ScanStopped(f"stopped before the proof in {path}", path=path)
                proved = self._at.state.fact("proved")
                order = KeyOrder.prove(session, self._at.table, reader, proved)
            finally:
                self._at.cancellable = None
        with self._at.state.commit():
            self._at.state.save_facts(proved=dict(order.proved))
        return order

"""The passes of a scan: main pass, sweep, confirm, and how they go on after a failure.

Order of every step: rows are read, their records are appended to the spill and synced,
then positions and the spill's length are committed to the run's state. A kill costs

* in the main pass, what was read since the last checkpoint (about two seconds);
* in sweep or confirm, the sweep from its beginning, under a new snapshot;
* after the groups took their place and before the run was marked finished, the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from ..confirm import Confirmed, Confirmer
from ..connect import Database
from ..errors import LockNotAvailable, QueryFailed, ScanStopped, ServerUnavailable
from ..groups import GroupsWriter
from ..key import ResolvedKey
from ..progress import RunStatus
from ..session import Session
from ..table import Table, load_table
from .checkpoint import State, UnreadableRow
from .chunk import ChunkReader, shared_search_path
from .directory import SPILL_FILE, check_space
from .identity import Identity, check_heaps, check_server, identify, read_server
from .keyorder import KeyOrder, leaf_segments
from .options import Options
from .owner import end_leftovers
from .pace import STOP_FILE, pause_reason, rest
from .position import Order, PhysicalOrder, block_segments
from .run import Run
from .spill import RECORD_BYTES, Spill, Words
from .sweep import (
    HISTORY,
    Horizon,
    Snapshot,
    check_history,
    held_snapshot,
    lasting_horizon,
    read_horizon,
)
from .tally import Tally
from .telling import OnProgress, Teller
from .walk import candidates
from .workers import RETRY_SECONDS, Batch, Work, read_segments

#: share that a table may outgrow the planner's estimate of its rows by
_ESTIMATE_MARGIN = 1.1


class _HorizonPassed(Exception):
    """The scan took so long that its horizon can no longer be compared with rows."""


class Passes:
    """One call of ``scan`` at work in a run directory that it owns."""

    def __init__(
        self,
        *,
        database: Database,
        path: Path,
        state: State,
        identity: Identity,
        table: Table,
        keys: Sequence[ResolvedKey],
        options: Options,
        on_progress: OnProgress | None,
    ) -> None:
        """Take the run up where ``state`` says it is."""
        self._database = database
        self._path = path
        self._state = state
        self._identity = identity
        self._table = table
        self._keys = tuple(keys)
        self._options = options
        self._name = f"pgmend {state.fact('id')}"
        self._tally = Tally.of(state, table, keys)
        self._stopping = threading.Event()
        #: the session whose long statements a stop cancels
        self._cancellable: Session | None = None
        self._teller = Teller(Run(path, self._stop), self._tally, on_progress)
        self._looked = 0.0

    def go(self) -> None:
        """Work until the run is finished or a stop was asked for."""
        self._teller.tick(now=True)
        with self._database.open(self._name) as session:
            self._greet(session)
            end_leftovers(session, self._name, self._teller.tell, self._held)
        finished = False
        while not finished and not self._stopped():
            with self._database.open(self._name) as session:
                self._begin_or_go_on(session)
            self._check_space()
            spill_path = self._path / SPILL_FILE
            # What a sweep appended is not synced, nor wanted again.
            main = self._tally.phase is RunStatus.SCANNING
            length = self._state.fact("spill_length" if main else "main_length")
            with closing(Spill(spill_path, length)) as spill:
                try:
                    if self._main_pass(spill):
                        finished = self._until_confirmed(spill)
                except _HorizonPassed:
                    continue
                finally:
                    self._note_messages()
        (self._path / STOP_FILE).unlink(missing_ok=True)

    def _stop(self) -> None:
        """Ask for a stop; callable from any thread."""
        self._stopping.set()
        session = self._cancellable
        if session is not None:
            session.cancel()

    def _stopped(self) -> bool:
        """Tell whether a stop was asked for, by this process or another one."""
        now = time.monotonic()
        if not self._stopping.is_set() and now - self._looked > 0.1:
            self._looked = now
            if (self._path / STOP_FILE).exists():
                self._stopping.set()
        return self._stopping.is_set()

    def _greet(self, session: Session) -> None:
        """Check that a new session reached the run's own server, and it knows what was read."""
        check_server(self._identity.server, read_server(session))
        check_history(session, self._tally.history)

    def _tick(self, waiting: str | None = None) -> None:
        self._note_messages()
        self._teller.tick(waiting)

    def _held(self) -> bool:
        """Show where the scan is, wait while it is paused, and tell whether to stop."""
        self._tick()
        while (reason := pause_reason(self._path)) and not self._stopped():
            self._tick(reason)
            time.sleep(0.1)
        return self._stopped()

    def _note_messages(self) -> None:
        for message in self._teller.messages():
            with self._state.commit():
                self._state.save_event(datetime.now(UTC).isoformat(), message)

    def _begin_or_go_on(self, session: Session) -> None:
        """Take the horizon and cut the table, unless an earlier call has and it still holds."""
        saved = self._state.fact("horizon")
        if saved is not None and not Horizon(**saved).too_old(read_horizon(session)):
            return
        now = lasting_horizon(session, self._stopped)
        if now is None:
            return
        if saved is not None:
            self._teller.tell(
                "the scan begins anew: more than 2^30 transactions have passed since it"
                " began, so new rows can no longer be told from old ones"
            )
        tally = self._tally
        tally.begin_main_pass()
        (tally.history,) = session.row(f"SELECT {HISTORY}")
        by_key = self._state.fact("order") == "key"
        leaves = self._table.leaves
        with self._state.commit():
            self._state.move(RunStatus.SCANNING)
            self._state.replace_segments(
                leaf_segments(leaves) if by_key else block_segments(leaves, self._options.jobs)
            )
            self._state.forget_unreadable()
            self._state.save_facts(horizon=asdict(now), main_length=0, **tally.facts())

    def _check_space(self) -> None:
        """Check the disk for the records that are still to come."""
        rows = sum(leaf.rows_estimate for leaf in self._table.leaves) * _ESTIMATE_MARGIN
        left = 1.0 - min(1.0, self._tally.main_blocks / max(1, self._tally.blocks))
        check_space(self._path, int(rows * left * RECORD_BYTES * len(self._keys)))

    def _append(self, spill: Spill, batch: Batch, rows: list[list[int]]) -> None:
        """Append a batch's records to the spill and count them into ``rows``."""
        for place in range(len(self._keys)):
            digests, addresses = batch.take(place)
            rows[place][0] += len(digests)
            rows[place][1] += batch.left_out[place]
            spill.append(place, digests, addresses)
        self._tally.spilled = spill.length

    def _work(self, order: Order) -> Work:
        return Work(
            database=self._database,
            name=self._name,
            table=self._table,
            order=order,
            keys=len(self._keys),
            jobs=self._options.jobs,
            nice=self._options.nice,
            budget=self._options.budget,
            directory=self._path,
            greet=self._greet,
            stopped=self._stopped,
            tell=self._teller.tell,
        )

    def _main_pass(self, spill: Spill) -> bool:
        """Read every segment to its end; False when stopped before."""
        if self._tally.phase is not RunStatus.SCANNING:
            return True
        state, tally = self._state, self._tally

        def flush(batch: Batch) -> None:
            self._append(spill, batch, tally.main_rows)
            tally.main_blocks += batch.blocks
            tally.history = max(tally.history, batch.history)
            spill.sync()
            with state.commit():
                state.save_positions(batch.positions)
                state.save_unreadable(batch.unreadable)
                state.save_facts(**tally.facts())

        try:
            order = self._order()
        except QueryFailed as error:
            if self._stopped() and error.sqlstate == "57014":
                return False
            raise
        if not read_segments(self._work(order), state.segments(), flush, self._tick):
            return False
        with state.commit():
            state.move(RunStatus.SWEEPING)
            state.save_facts(main_length=spill.length)
        tally.phase = RunStatus.SWEEPING
        return True

    def _order(self) -> Order:
        """Return the way to go through the table; in key order, prove the index first."""
        reader = ChunkReader(self._keys)
        if self._state.fact("order") != "key":
            return PhysicalOrder(reader)
        with self._database.open(self._name) as session:
            self._cancellable = session
            try:
                order = KeyOrder.prove(session, self._table, reader, self._state.fact("proved"))
            finally:
                self._cancellable = None
        with self._state.commit():
            self._state.save_facts(proved=dict(order.proved))
        return order

    def _until_confirmed(self, spill: Spill) -> bool:
        """Sweep and confirm under one snapshot, under another where it is lost; False: stopped."""
        for delay in (*RETRY_SECONDS, None):
            try:
                return self._under_snapshot(spill)
            except ScanStopped:
                return False
            except (ServerUnavailable, LockNotAvailable) as error:
                if delay is None:
                    raise
                self._teller.tell(f"{error.message}; sweeping again in {delay:g} s")
                self._tick()
                rest(1.0, delay, self._stopped)
            if self._stopped():
                return False
        return False

    def _under_snapshot(self, spill: Spill) -> bool:
        state, tally = self._state, self._tally
        tally.begin_sweep()
        spill.cut(state.fact("main_length"))
        tally.spilled = spill.length
        with state.commit():
            state.move(RunStatus.SWEEPING)
            state.save_facts(**tally.facts())
        with held_snapshot(self._database, self._name, self._greet) as snapshot:
            if not self._sweep(spill, snapshot):
                return False
            tally.phase = RunStatus.CONFIRMING
            with state.commit():
                state.move(RunStatus.CONFIRMING)
                state.save_facts(**tally.facts())
            confirmed, lost = self._confirm(spill, snapshot)
            self._check_heaps()
        tally.phase = RunStatus.FINISHED
        with state.commit():
            state.move(RunStatus.FINISHED)
            state.save_unreadable(lost)
            state.save_facts(**tally.facts(confirmed), as_of=snapshot.as_of.isoformat())
        self._teller.tick(now=True)
        return True

    def _sweep(self, spill: Spill, snapshot: Snapshot) -> bool:
        """Read what was written since the horizon; nothing where nobody wrote. False: stopped."""
        horizon = Horizon(**self._state.fact("horizon"))
        if horizon.too_old(snapshot.horizon):
            raise _HorizonPassed
        if horizon.nobody_wrote_until(snapshot.horizon):
            return not self._stopped()
        tally, started = self._tally, time.monotonic()
        before = tally.sweep_seconds

        def flush(batch: Batch) -> None:
            self._append(spill, batch, tally.sweep_rows)
            tally.sweep_blocks += batch.blocks
            tally.sweep_seconds = before + time.monotonic() - started
            with self._state.commit():
                self._state.save_unreadable(batch.unreadable)

        reader = ChunkReader(self._keys, horizon=horizon.xmin)
        return read_segments(
            self._work(PhysicalOrder(reader, snapshot.name)),
            block_segments(self._table.leaves, self._options.jobs),
            flush,
            self._tick,
        )

    def _confirm(
        self, spill: Spill, snapshot: Snapshot
    ) -> tuple[list[Confirmed], list[UnreadableRow]]:
        """Confirm every key's candidates and write the groups.

        Raises ScanStopped when a stop was asked for; the groups are then discarded.
        """
        tally = self._tally
        lost: list[UnreadableRow] = []
        confirmed: list[Confirmed] = []
        leaves = [(leaf.number, leaf.schema, leaf.name, leaf.pk) for leaf in self._table.leaves]
        try:
            with (
                self._database.open(self._name) as session,
                GroupsWriter(self._path, leaves) as writer,
            ):
                self._greet(session)
                self._cancellable = session
                for place, key in enumerate(self._keys):
                    confirmer = Confirmer(
                        session,
                        snapshot=snapshot.name,
                        table=self._table,
                        key=key,
                        ordinal=place,
                        search_path=shared_search_path(self._keys),
                        writer=writer,
                        lost=lost.append,
                    )
                    before = tally.groups

                    def between(confirmer: Confirmer = confirmer, before: int = before) -> bool:
                        tally.groups = before + confirmer.groups
                        return self._held()

                    confirmed.append(confirmer.run(self._slices(spill, place), between))
                    tally.groups = before + confirmer.groups
                if self._stopped():
                    raise ScanStopped(f"stopped while confirming in {self._path}", path=self._path)
        except QueryFailed as error:
            if self._stopped() and error.sqlstate == "57014":
                raise ScanStopped(error.message, path=self._path) from error
            raise
        finally:
            self._cancellable = None
        return confirmed, lost

    def _slices(self, spill: Spill, place: int) -> Iterator[tuple[Words, Words]]:
        """Yield the slices of one key's candidates and tell how far the walk is."""
        limit = self._options.budget.walk_records
        for share, digests, addresses in candidates(spill, place, limit):
            self._tally.walked = (place + share) / len(self._keys)
            if self._held():
                return
            yield digests, addresses

    def _check_heaps(self) -> None:
        """Check once more that no heap was rewritten while its rows were read by address."""
        with self._database.open(self._name) as session:
            table = load_table(session, self._table.oid)
            check_heaps(
                self._identity, identify(self._identity.server, table, self._keys)
            )

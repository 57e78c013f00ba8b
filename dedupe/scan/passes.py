"""The passes of a scan: main pass, sweep, confirm, and how they go on after a failure.

Order of every step: rows are read, their records are appended to the spill and synced,
then positions and the spill's length are committed to the run's state. A kill costs

* in the main pass, what was read since the last checkpoint (about two seconds);
* in sweep or confirm, the sweep from its beginning, under a new snapshot;
* after the groups took their place and before the run was marked finished, the same.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing

from ..addressed import AddressReader
from ..confirm import Confirmed, Confirmer
from ..errors import LockNotAvailable, QueryFailed, ScanStopped, ServerUnavailable
from ..groups import GroupsWriter
from ..key import resolve_all
from ..progress import RunStatus
from ..session import Session
from .beginning import begin, begun
from .checkpoint import UnreadableRow
from .chunk import ChunkReader, shared_search_path
from .directory import SPILL_FILE, check_space
from .identity import check_heaps, check_work, identify, read_server
from .keys import load_scanned
from .mainpass import MainPass
from .owner import end_leftovers
from .pace import STOP_FILE, rest
from .position import PhysicalOrder, block_segments
from .spill import RECORD_BYTES, Spill, Words
from .sweep import Horizon, Snapshot, held_snapshot, read_horizon
from .walk import candidates
from .workers import RETRY_SECONDS, Batch, read_segments
from .workplace import Workplace

#: share that a table may outgrow the planner's estimate of its rows by
_ESTIMATE_MARGIN = 1.1


class _HorizonPassed(Exception):
    """The scan took so long that its horizon can no longer be compared with rows."""


class Passes:
    """One call of ``scan`` at work: the main pass, sweep and confirm, until all is done."""

    def __init__(self, workplace: Workplace) -> None:
        """Take the run up where its state says it is."""
        self._at = workplace

    def go(self) -> None:
        """Work until the run is finished or a stop was asked for."""
        at = self._at
        at.teller.tick(now=True)
        try:
            at.ask(lambda session: end_leftovers(session, at.name, at.teller.tell, at.held))
            self._until_finished()
        except ScanStopped:
            # What was saved is there to go on from.
            at.note_messages()
        (at.path / STOP_FILE).unlink(missing_ok=True)

    def _until_finished(self) -> None:
        """Go through the passes; returns before the end when stopped."""
        finished = False
        while not finished and not self._at.stopped():
            self._at.ask(self._begin_or_go_on)
            self._check_space()
            spill_path = self._at.path / SPILL_FILE
            # What a sweep appended is not synced, nor wanted again.
            main = self._at.tally.phase is RunStatus.SCANNING
            length = self._at.state.fact("spill_length" if main else "main_length")
            with closing(Spill(spill_path, length)) as spill:
                try:
                    if MainPass(self._at).read(spill):
                        finished = self._until_confirmed(spill)
                except _HorizonPassed:
                    continue
                finally:
                    self._at.note_messages()

    def _begin_or_go_on(self, session: Session) -> None:
        """Begin, unless an earlier call has and its horizon still holds."""
        if begun(self._at):
            horizon = Horizon(**self._at.state.fact("horizon"))
            if not horizon.too_old(read_horizon(session)):
                return
            self._at.teller.tell(
                "the scan begins anew: more than 2^30 transactions have passed since it"
                " began, so new rows can no longer be told from old ones"
            )
        begin(self._at)

    def _check_space(self) -> None:
        """Check the disk for the records that are still to come."""
        rows = sum(leaf.rows_estimate for leaf in self._at.table.leaves) * _ESTIMATE_MARGIN
        left = 1.0 - min(1.0, self._at.tally.main_blocks / max(1, self._at.tally.blocks))
        check_space(self._at.path, int(rows * left * RECORD_BYTES * len(self._at.keys)))

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
                self._at.teller.tell(f"{error.message}; sweeping again in {delay:g} s")
                self._at.tick()
                rest(1.0, delay, self._at.stopped)
            if self._at.stopped():
                return False
        return False

    def _under_snapshot(self, spill: Spill) -> bool:
        state, tally = self._at.state, self._at.tally
        tally.begin_sweep()
        spill.cut(state.fact("main_length"))
        tally.spilled = spill.length
        with state.commit():
            state.move(RunStatus.SWEEPING)
            state.save_facts(**tally.facts())
        with held_snapshot(self._at.database, self._at.name, self._at.greet) as snapshot:
            if not self._sweep(spill, snapshot):
                return False
            tally.phase = RunStatus.CONFIRMING
            with state.commit():
                state.move(RunStatus.CONFIRMING)
                state.save_facts(**tally.facts())
            with self._at.database.open(self._at.name) as session:
                self._at.greet(session)
                confirmed, lost = self._confirm(session, spill, snapshot)
                self._check_identity(session)
        tally.phase = RunStatus.FINISHED
        with state.commit():
            state.move(RunStatus.FINISHED)
            state.save_unreadable(lost)
            state.save_facts(**tally.facts(confirmed), as_of=snapshot.as_of.isoformat())
        self._at.teller.tick(now=True)
        return True

    def _sweep(self, spill: Spill, snapshot: Snapshot) -> bool:
        """Read what was written since the horizon; nothing where nobody wrote. False: stopped."""
        horizon = Horizon(**self._at.state.fact("horizon"))
        if horizon.too_old(snapshot.horizon):
            raise _HorizonPassed
        if horizon.nobody_wrote_until(snapshot.horizon):
            return not self._at.stopped()
        tally, started = self._at.tally, time.monotonic()
        before = tally.sweep_seconds

        def flush(batch: Batch) -> None:
            self._at.append(spill, batch, tally.sweep_rows)
            tally.sweep_blocks += batch.blocks
            tally.sweep_seconds = before + time.monotonic() - started
            with self._at.state.commit():
                self._at.state.save_unreadable(batch.unreadable)

        reader = ChunkReader(self._at.keys, horizon=horizon.xmin)
        return read_segments(
            self._at.work(PhysicalOrder(reader, snapshot.name)),
            block_segments(self._at.table.leaves, self._at.options.jobs),
            flush,
            self._at.tick,
        )

    def _confirm(
        self, session: Session, spill: Spill, snapshot: Snapshot
    ) -> tuple[list[Confirmed], list[UnreadableRow]]:
        """Confirm every key's candidates and write the groups.

        Raises ScanStopped when a stop was asked for; the groups are then discarded.
        """
        lost: list[UnreadableRow] = []
        confirmed: list[Confirmed] = []
        leaves = [(leaf.number, leaf.schema, leaf.name, leaf.pk) for leaf in self._at.table.leaves]
        try:
            with GroupsWriter(self._at.path, leaves) as writer:
                self._at.cancellable = session
                for place, key in enumerate(self._at.keys):
                    with AddressReader(
                        session,
                        snapshot=snapshot.name,
                        table=self._at.table,
                        key=key,
                        search_path=shared_search_path(self._at.keys),
                        lost=lost.append,
                    ) as rows:
                        confirmer = Confirmer(rows, ordinal=place, writer=writer)
                        confirmed.append(self._confirm_key(confirmer, spill, place))
                if self._at.stopped():
                    path = self._at.path
                    raise ScanStopped(f"stopped while confirming in {path}", path=path)
        except QueryFailed as error:
            if self._at.stopped() and error.sqlstate == "57014":
                raise ScanStopped(error.message, path=self._at.path) from error
            raise
        finally:
            self._at.cancellable = None
        return confirmed, lost

    def _confirm_key(self, confirmer: Confirmer, spill: Spill, place: int) -> Confirmed:
        """Confirm the candidates of one key and tell how many groups there are."""
        tally = self._at.tally
        before = tally.groups

        def between() -> bool:
            tally.groups = before + confirmer.groups
            return self._at.held()

        # Closed at once: an error that somebody keeps would keep its thread.
        with closing(self._slices(spill, place)) as slices:
            confirmed = confirmer.run(slices, between)
        tally.groups = before + confirmer.groups
        return confirmed

    def _slices(self, spill: Spill, place: int) -> Generator[tuple[Words, Words], None, None]:
        """Yield the slices of one key's candidates and tell how far the walk is."""
        limit = self._at.options.budget.walk_records
        with closing(candidates(spill, place, limit, self._at.options.jobs)) as slices:
            for share, digests, addresses in slices:
                self._at.tally.walked = (place + share) / len(self._at.keys)
                if self._at.held():
                    return
                yield digests, addresses
                del digests, addresses

    def _check_identity(self, session: Session) -> None:
        """Check once more that no heap was rewritten, and no key changed, while rows were read."""
        keys = resolve_all(session, self._at.asked)
        found = identify(read_server(session), load_scanned(session, keys), keys)
        check_work(self._at.identity, found)
        check_heaps(self._at.identity, found)

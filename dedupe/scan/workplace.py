"""The workplace: what all passes of one call of ``scan`` share, and how a stop reaches them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from ..connect import Database
from ..errors import ScanStopped, ServerUnavailable
from ..key import MatchKey, ResolvedKey
from ..session import Session
from ..table import Table
from .checkpoint import State
from .history import check_history
from .identity import Identity, check_server, read_server
from .options import Options
from .pace import STOP_FILE, pause_reason, rest
from .position import Order
from .run import Run
from .spill import Spill
from .tally import Tally
from .telling import OnProgress, Teller
from .workers import RETRY_SECONDS, Batch, Work

Answer = TypeVar("Answer")


class Workplace:
    """A run directory that this process owns, and everything that works in it needs."""

    def __init__(
        self,
        *,
        database: Database,
        path: Path,
        state: State,
        identity: Identity,
        table: Table,
        asked: Sequence[MatchKey],
        keys: Sequence[ResolvedKey],
        options: Options,
        on_progress: OnProgress | None,
    ) -> None:
        """Take the run up where ``state`` says it is."""
        self.database = database
        self.path = path
        self.state = state
        self.identity = identity
        self.table = table
        self.asked = tuple(asked)
        self.keys = tuple(keys)
        self.options = options
        self.name = f"pgmend {state.fact('id')}"
        self.tally = Tally.of(state, table, keys)
        self._stopping = threading.Event()
        #: the session whose long statements a stop cancels
        self.cancellable: Session | None = None
        self.teller = Teller(Run(path, self.stop), self.tally, on_progress)
        self._looked = 0.0

    def stop(self) -> None:
        """Ask for a stop; callable from any thread."""
        self._stopping.set()
        session = self.cancellable
        if session is not None:
            session.cancel()

    def stopped(self) -> bool:
        """Tell whether a stop was asked for, by this process or another one."""
        now = time.monotonic()
        if not self._stopping.is_set() and now - self._looked > 0.1:
            self._looked = now
            if (self.path / STOP_FILE).exists():
                self._stopping.set()
        return self._stopping.is_set()

    def greet(self, session: Session) -> None:
        """Check that a new session reached the run's own server, and it knows what was read."""
        check_server(self.identity.server, read_server(session))
        check_history(session, self.tally.history)

    def ask(self, question: Callable[[Session], Answer]) -> Answer:
        """Ask in a session of its own, and again while the server cannot be reached.

        Raises ServerUnavailable where it did not come back, ScanStopped where a stop was
        asked for meanwhile.
        """
        for delay in RETRY_SECONDS:
            try:
                return self._asked_once(question)
            except ServerUnavailable as error:
                if self.stopped():
                    raise ScanStopped(f"stopped in {self.path}", path=self.path) from error
                self.teller.tell(f"{error.message}; trying again in {delay:g} s")
                self.tick()
                rest(1.0, delay, self.stopped)
        return self._asked_once(question)

    def _asked_once(self, question: Callable[[Session], Answer]) -> Answer:
        with self.database.open(self.name) as session:
            self.greet(session)
            return question(session)

    def tick(self, waiting: str | None = None) -> None:
        """Show where the scan is, and what there is to tell."""
        self.note_messages()
        self.teller.tick(waiting)

    def held(self) -> bool:
        """Show where the scan is, wait while it is paused, and tell whether to stop."""
        self.tick()
        while (reason := pause_reason(self.path)) and not self.stopped():
            self.tick(reason)
            time.sleep(0.1)
        return self.stopped()

    def note_messages(self) -> None:
        """Keep what there was to tell as events of the run."""
        for message in self.teller.messages():
            with self.state.commit():
                self.state.save_event(datetime.now(UTC).isoformat(), message)

    def append(self, spill: Spill, batch: Batch, rows: list[list[int]]) -> None:
        """Append a batch's records to the spill and count them into ``rows``."""
        for place in range(len(self.keys)):
            parts, batch.records[place] = batch.records[place], []
            rows[place][0] += sum(len(digests) for digests, _ in parts)
            rows[place][1] += batch.left_out[place]
            spill.append(place, parts)
        self.tally.spilled = spill.length

    def work(self, order: Order) -> Work:
        """Say what the workers of a pass need."""
        return Work(
            database=self.database,
            name=self.name,
            table=self.table,
            order=order,
            keys=len(self.keys),
            jobs=self.options.jobs,
            nice=self.options.nice,
            budget=self.options.budget,
            directory=self.path,
            greet=self.greet,
            stopped=self.stopped,
            tell=self.teller.tell,
        )

"""The whole benchmark: tables one after another, contestants in turn, all outcomes kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from . import machine
from .cache import place
from .contest import Contestant, Outcome
from .failure import BenchmarkFailed
from .figures import Asked, Contest, Figures
from .floor import FLOOR
from .ours import Scan
from .peers import PEERS
from .processes import NO_LIMITS, Limits
from .relay import relay
from .table import Store, Table, conversations, copies_of, one_group, statuses, warm

Tell = Callable[[str], None]
Build = Callable[[Store, int, int], AbstractContextManager[Table]]

#: share of the machine's memory that a peer's processes may take
_MOST_MEMORY = 0.7
#: rows of the tables that are read through a relay, to count the network's bytes
_RELAYED = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What all contests have in common."""

    rounds: int
    scratch: Path
    #: of peers; the floor and pgmend have none
    limits: Limits
    tell: Tell

    def contest(
        self,
        table: Table,
        what: str,
        contestants: Sequence[Contestant],
        peers: Sequence[Contestant] = (),
        network: Mapping[str, float] | None = None,
        rounds: int | None = None,
    ) -> Contest:
        """Run all in turn, so that a slow minute meets each of them; every peer runs once.

        ``network`` has the network's bytes for a row. Raises BenchmarkFailed where one
        of ``contestants`` fails; a peer's failure is its outcome.
        """
        rounds = rounds or self.rounds
        if table.heap_bytes > machine.available_bytes():
            self.tell(f"{table.name} does not fit into the page cache: its figures are cold")
        outcomes = []
        for number, contestant, peer in _turns(contestants, peers, rounds):
            turn = f", round {number} of {rounds}" if rounds > 1 and not peer else ""
            self.tell(f"{contestant.name} over {table.rows:,} rows of {table.name}{turn}")
            # What the last one wrote may have taken the table's place in memory.
            warm(table.dsn, table.name)
            outcome = self._once(contestant, table, peer=peer)
            if outcome.failure is None and contestant.name in (network or {}):
                passed = round((network or {})[contestant.name] * table.rows)
                outcome = replace(outcome, network_bytes=passed)
            outcomes.append(outcome)
        return Contest(
            table=what,
            rows=table.rows,
            keyed_rows=table.keyed_rows,
            heap_bytes=table.heap_bytes,
            truth=table.truth,
            outcomes=tuple(outcomes),
        )

    def network(
        self, table: Table, contestants: Sequence[Contestant], peers: Sequence[Contestant]
    ) -> dict[str, float]:
        """Return each contestant's bytes to and from the server for a row of a small table."""
        found = {}
        with relay(table.dsn) as between:
            relayed = replace(table, relay=between.dsn)
            for _, contestant, peer in _turns(contestants, peers, 1):
                self.tell(f"{contestant.name} over {table.rows:,} rows of {table.name}, relayed")
                between.reset()
                outcome = self._once(contestant, relayed, peer=peer)
                if outcome.failure is None:
                    found[contestant.name] = between.count / table.rows
        return found

    def _once(self, contestant: Contestant, table: Table, *, peer: bool) -> Outcome:
        with tempfile.TemporaryDirectory(dir=self.scratch) as own:
            try:
                return contestant.run(table, Path(own), self.limits if peer else NO_LIMITS)
            except BenchmarkFailed as error:
                if not peer:
                    raise
                self.tell(f"{contestant.name} failed: {error}")
                return Outcome(
                    contestant=contestant.name, rows=table.rows, failure=_one_line(error)
                )


def measure(asked: Asked, tell: Tell) -> Figures:
    """Start a server, build, measure, and remove what is not kept.

    PGMEND_LAB_DSN names a server to use instead, as it is set up.
    Raises BenchmarkFailed, LabError.
    """
    load = os.getloadavg()[0]
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    ours = Scan(jobs=asked.jobs, memory=asked.memory)
    limits = Limits(
        seconds=asked.limit, rss_bytes=round(_MOST_MEMORY * machine.total_bytes())
    )
    with (
        tempfile.TemporaryDirectory(prefix="pgmend-benchmark-") as scratch,
        place(Path(asked.keep) if asked.keep else None) as (lab, store),
    ):
        course = Course(rounds=asked.rounds, scratch=Path(scratch), limits=limits, tell=tell)
        described = machine.describe(lab, load)
        with _told(tell, store, statuses, "statuses", asked.tenth, asked.seed) as table:
            tenth = course.contest(table, "statuses, a tenth", [ours])
        copies = copies_of(asked.rows)
        tell(f"{copies:,} rows that are all one group")
        with one_group(store, copies) as table:
            alike = course.contest(table, "one group", [ours], rounds=1)
        whole = []
        for build, what in ((statuses, "statuses"), (conversations, "conversations")):
            small = min(asked.rows, _RELAYED)
            with _told(tell, store, build, what, small, asked.seed) as table:
                network = course.network(table, [FLOOR, ours], PEERS)
            with _told(tell, store, build, what, asked.rows, asked.seed) as table:
                whole.append(course.contest(table, what, [FLOOR, ours], PEERS, network))
    return Figures(
        asked=asked,
        machine=described,
        made_at=made_at,
        statuses=whole[0],
        conversations=whole[1],
        tenth=tenth,
        one_group=alike,
    )


def _told(
    tell: Tell, store: Store, build: Build, what: str, rows: int, seed: int
) -> AbstractContextManager[Table]:
    tell(f"{rows:,} {what}")
    return build(store, rows, seed)


def _turns(
    contestants: Sequence[Contestant], peers: Sequence[Contestant], rounds: int
) -> Iterator[tuple[int, Contestant, bool]]:
    """Yield round, contestant and whether it is a peer; peers are dealt out over the rounds."""
    for number in range(rounds):
        for contestant in contestants:
            yield number + 1, contestant, False
        for contestant in peers[number::rounds]:
            yield number + 1, contestant, True


def _one_line(error: BenchmarkFailed) -> str:
    """Return the last line of what a program said, which is the error itself."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else "failed"

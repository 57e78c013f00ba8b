"""The turns of a round, batch by batch, each batch one transaction.

Where nobody else is connected a batch takes the whole round and finds child rows by reading the
heaps of children (``byheap.ByHeap``). If the server refuses such a batch, the indexes are proved
or rebuilt, and the turns go on by them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from ..connect import Database
from ..errors import DedupeError, QueryFailed, ServerUnavailable, UnplannedEffect
from ..journal import SCHEMA
from ..key import ResolvedKey
from ..policy import Policy
from ..references import References
from ..writer import Writer
from .batch import Batches
from .byheap import ByHeap
from .helpers import index_columns
from .loading import PIECE_ROWS
from .locking import given_up, jitter, may_pass
from .preparing import prepare, prepare_checks
from .rebuild import DUPLICATES, look_for_others
from .searching import ByIndex, Search
from .survey import Survey
from .telling import Telling

#: a batch's; its locks are held as long
_TARGET_SECONDS = 0.5
#: the same where nobody else is connected who could wait for them
_TARGET_ALONE = 5.0
_FIRST_BATCH = 100
_LARGEST_BATCH = 20_000
#: rows that go, up to which their children are read rather than their indexes proved
_MOST_BY_HEAP = 200_000
#: rows of a group that a batch's size reckons with
_ROWS_A_GROUP = 3


class Turns:
    """Carries out rounds of one repair on one writer."""

    def __init__(
        self,
        writer: Writer,
        database: Database,
        run: str,
        pointing: Sequence[References],
        policies: Sequence[Policy],
        key: ResolvedKey,
        key_label: str,
        telling: Telling,
        *,
        losers: int,
        triggers_off: bool,
        nice: float,
        also_damaged: Collection[str],
        proved: set[int],
        alone: bool,
        survey: Survey,
        wait: Callable[[], None],
    ) -> None:
        """Prepare what the first batch needs; the parameters are those of ``repair``.

        ``key_label`` is the key's own index, ``losers`` the rows that go by the plan,
        ``wait`` is called before each batch. Raises what ``prepare`` raises.
        """
        self._writer = writer
        self._database = database
        self._run = run
        self._pointing = pointing
        self._policies = policies
        self._key = key
        self._key_label = key_label
        self._telling = telling
        self._triggers_off = triggers_off
        self._nice = nice
        self._also_damaged = also_damaged
        self._proved = proved
        self._alone = alone
        self._target = _TARGET_ALONE if alone else _TARGET_SECONDS
        self._wait = wait
        self._by_heap = alone and losers <= _MOST_BY_HEAP
        if self._by_heap:
            self._size = _LARGEST_BATCH
            if not triggers_off:
                prepare_checks(writer, run, pointing, key.index_oid, telling)
            self._batches = self._searching(lambda references: ByHeap(references, survey))
        else:
            self._go_by_index()

    def round(self, round_: int, done: int) -> None:
        """Do the turns of a round that lie behind ``done``.

        Raises UnplannedEffect, DuplicatesLeft (another key), RepairStopped, FailureError.
        """
        (total,) = self._writer.row(
            f"SELECT coalesce(max(turn), 0) FROM {SCHEMA}.work WHERE run = $1::text"
            " AND round = $2::int4",
            [self._run, round_],
        )
        self._telling.phase("repairing", total, done)
        while True:
            self._telling.check_stop()
            self._wait()
            policy, part = self._next_part(round_, done)
            if not part:
                return
            took = self._one_batch(policy, round_, done, part)
            done = part[-1]
            self._telling.did(len(part))
            if self._nice:
                self._telling.wait(took * self._nice, "being nice")

    def _go_by_index(self) -> None:
        """Prove or rebuild all indexes, and find rows by them from now on."""
        self._by_heap = False
        self._size = _FIRST_BATCH
        untrusted = self._key.index_oid
        name = f"pgmend repair {self._run}"
        prepare(
            self._writer, lambda: self._database.open(name), self._run, self._pointing,
            untrusted, self._telling, self._proved, alone=self._alone,
        )
        columns = frozenset() if untrusted is None else index_columns(self._writer, untrusted)
        by_index = ByIndex(self._pointing[0].root, untrusted, columns)
        self._batches = self._searching(lambda _: by_index)

    def _searching(self, search_of: Callable[[References], Search]) -> list[Batches]:
        return [
            Batches(
                self._writer, self._run, references, policy, self._key, search_of(references),
                triggers_off=self._triggers_off,
            )
            for references, policy in zip(self._pointing, self._policies, strict=True)
        ]

    def _next_part(self, round_: int, done: int) -> tuple[int, list[int]]:
        """Return the turns of the next batch, and the policy that all of them belong to.

        Fewer where there are large groups among them.
        """
        part: list[int] = []
        rows = first = 0
        for turn, policy, count in self._writer.rows(
            f"SELECT turn, min(policy), count(*) FROM {SCHEMA}.work WHERE run = $1::text"
            " AND round = $2::int4 AND turn > $3::int4 GROUP BY turn ORDER BY turn LIMIT $4::int4",
            [self._run, round_, done, self._size],
        ):
            rows += count
            if not part:
                first = policy
            elif policy != first or rows > max(PIECE_ROWS, _ROWS_A_GROUP * self._size):
                break
            part.append(turn)
        return first, part

    def _one_batch(self, policy: int, round_: int, done: int, part: list[int]) -> float:
        """Repair the groups of some turns; what fails is halved until it is alone."""
        tries = 0
        while True:
            started = time.monotonic()
            try:
                self._batches[policy].run(round_, done, part[-1])
            except UnplannedEffect as error:
                if not self._by_heap:
                    raise
                self._refused_by_heap(error)
            except (QueryFailed, ServerUnavailable) as error:
                passing = may_pass(error)
                if isinstance(error, ServerUnavailable) and not passing:
                    raise
                tries += 1
                if passing and not given_up(tries):
                    self._telling.wait(jitter(tries), "a lock is held by another session")
                elif self._by_heap:
                    # With all groups in one batch, no other order of them would help.
                    look_for_others(error, self._also_damaged)
                    self._refused_by_heap(error)
                else:
                    return self._halved(policy, round_, done, part, error)
            else:
                took = time.monotonic() - started
                if self._by_heap:
                    return took
                if took < self._target / 2:
                    self._size = min(_LARGEST_BATCH, self._size * 2)
                elif took > self._target:
                    self._size = max(1, int(self._size * self._target / took))
                return took

    def _refused_by_heap(self, error: DedupeError) -> None:
        self._telling.say(f"{error.message}: every index that takes part is proved first")
        self._go_by_index()

    def _halved(
        self, policy: int, round_: int, done: int, part: list[int], error: DedupeError
    ) -> float:
        look_for_others(error, {one for one in self._also_damaged if one != self._key_label})
        batches = self._batches[policy]
        if len(part) == 1:
            twins = error.facts.get("sqlstate") == DUPLICATES
            if twins and batches.join(round_, part[0]):
                return self._one_batch(policy, round_, done, part)
            look_for_others(error, self._also_damaged)
            for group in batches.skip(round_, part[0], error.message):
                self._telling.say(f"group {group} was left as it is: {error.message}")
            return 0.0
        middle = len(part) // 2
        first = self._one_batch(policy, round_, done, part[:middle])
        return first + self._one_batch(policy, round_, part[middle - 1], part[middle:])

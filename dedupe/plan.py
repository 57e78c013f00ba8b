"""The plan of a repair: what was decided about each group, on disk beside the run.

The plan has an SQLite file of its own, there whole or not at all, and can be made again
as often as wanted until its repair begins.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, TypeAlias

from .decision import LARGE_GROUP, Decision, Losers
from .errors import LocalStorageError, RefusedError
from .groups import GROUPS_FILE, Member, as_text
from .planstore import connected, damaged, read_facts
from .policy import Policy, Program, policies_from_json
from .scan.directory import PLAN_FILE, REPAIRING_FILE
from .scan.run import Run

#: policy, group, leaf's number, ctid, xmin, primary key as a JSON array of texts
PlannedRow: TypeAlias = tuple[int, int, int, str, str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedReference:
    """One reference, and what the repair does about it."""

    #: schema.table of the rows that point
    child: str
    columns: tuple[str, ...]
    #: schema.table of the rows that are pointed at
    parent: str
    parent_columns: tuple[str, ...]
    #: name of the foreign key; None for a declared soft reference
    constraint: str | None
    #: what the server would do to the child if its parent row were just deleted
    on_delete: str
    #: ``re-point``, ``lose`` where that was accepted, or ``keep`` where it points by the
    #: very key that is repaired
    handling: str
    #: 1: references the table with duplicates; 2: a child that may lose rows itself; …
    level: int
    #: index that finds the child rows; None: one is built for the time of the repair
    index: str | None
    #: the planner's estimate of the child's rows; None where there is none yet
    rows: int | None
    #: unique keys of the child that re-pointing may make rows violate
    collides_with: tuple[str, ...]
    #: which row stays where that happens
    on_collision: str


class Plan:
    """A plan and its file; made by ``plan`` or by ``Plan.open``. Reads the file when asked."""

    def __init__(self, run: Run, program: Program | None = None) -> None:
        #: the callables that it was made by, for groups that are still to come
        self.program = program
        #: the scan that found the groups
        self.run = run
        self._path = run.path / PLAN_FILE
        self._facts = read_facts(self._path)

    @classmethod
    def open(cls, path: str | Path) -> Plan:
        """Open the plan in a run directory.

        Raises PlanError (none yet, or damaged), NotARunDirectory, RunDirectoryDamaged.
        """
        return cls(Run.open(path))

    @property
    def key(self) -> int:
        """Number of the key within the run."""
        return int(self._facts["key"])

    @property
    def key_name(self) -> str:
        """Name of the key: its index, or its text."""
        return str(self._facts["key_name"])

    @property
    def table(self) -> str:
        """Schema and name of the table, unquoted."""
        return str(self._facts["table"])

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The rules that it was made by; each group by the first whose ``same`` holds in it."""
        return policies_from_json(self._facts["policies"])

    @property
    def shares(self) -> tuple[tuple[int, int], ...]:
        """Of each policy, the groups that are decided by it and their losers."""
        return tuple((groups, losers) for groups, losers in self._facts["shares"])

    @property
    def later_shares(self) -> tuple[tuple[int, int], ...]:
        """The same of what ``later`` gives."""
        return tuple((groups, losers) for groups, losers in self._facts["later_shares"])

    @property
    def groups(self) -> int:
        """Groups that are decided."""
        return int(self._facts["groups"])

    @property
    def losers(self) -> int:
        """Rows that do not stay."""
        return int(self._facts["losers"])

    @property
    def kept_apart(self) -> int:
        """Groups that the policy's ``same`` leaves as they are."""
        return int(self._facts["kept_apart"])

    @property
    def changed(self) -> int:
        """Groups of which a row was changed since the scan; the repair looks for them anew."""
        return int(self._facts["changed"])

    @property
    def parted(self) -> int:
        """Groups of which only some rows are decided; the repair looks for the others anew."""
        return int(self._facts["parted"])

    @property
    def left_out(self) -> int:
        """Groups that were not asked for (only, exclude, max_groups)."""
        return int(self._facts["left_out"])

    @property
    def partial(self) -> bool:
        """Whether the plan covers only a part of the groups by choice."""
        return self.left_out > 0

    @property
    def fingerprint(self) -> str:
        """Digest over run, key, policy and decisions."""
        return str(self._facts["fingerprint"])

    @property
    def made(self) -> datetime:
        """When it was made (UTC)."""
        return datetime.fromisoformat(self._facts["made"])

    @property
    def references(self) -> tuple[PlannedReference, ...]:
        """What points at rows that may go, level by level."""
        return tuple(
            PlannedReference(
                **{
                    **one,
                    "columns": tuple(one["columns"]),
                    "parent_columns": tuple(one["parent_columns"]),
                    "collides_with": tuple(one["collides_with"]),
                }
            )
            for one in self._facts["references"]
        )

    @property
    def statements(self) -> tuple[str, ...]:
        """Shapes of the statements that change rows."""
        return tuple(self._facts["statements"])

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know before the repair."""
        return tuple(self._facts["notes"])

    def decisions(self) -> Iterator[Decision]:
        """Stream the decisions by group number; memory: one group, none if it is large.

        Raises PlanError.
        """
        return self._decided("decision")

    def later(self) -> Iterator[Decision]:
        """Stream, by group number, what the repair's next rounds will decide of parted groups.

        As far as it can be known now: by the same policies, over the rows that are left then.
        Several of one group come in the order of their policies. Memory: one group. Raises
        PlanError.
        """
        return self._decided("later")

    def _decided(self, table: str) -> Iterator[Decision]:
        decided = self._rows(
            f"SELECT number, policy, member FROM {table} WHERE ordinal = 0 ORDER BY 1, 2"
        )
        wanted = next(decided, None)
        for group in self.run.groups():
            if group.key_name != self.key_name:
                continue
            if wanted is None:
                return
            while wanted is not None and wanted[0] == group.number:
                number, policy, survivor = wanted
                losers: Sequence[Member]
                # What is looked ahead for is in memory together, whatever its size.
                if table == "decision" and len(group.members) > LARGE_GROUP:
                    losers = Losers(group.members, partial(self.places, number))
                else:
                    members = list(group.members)
                    places = self._rows(
                        f"SELECT member FROM {table} WHERE number = ? AND policy = ?"
                        " AND ordinal > 0 ORDER BY ordinal",
                        (number, policy),
                    )
                    losers = tuple(members[place] for (place,) in places)
                yield Decision(
                    group=number, policy=policy, survivor=group.members[survivor], losers=losers
                )
                wanted = next(decided, None)

    def places(self, group: int, start: int, stop: int) -> Iterator[int]:
        """Stream the places of a group's members by rank, from ``start`` to before ``stop``.

        The survivor's rank is 0. Raises PlanError.
        """
        rows = self._rows(
            "SELECT member FROM decision WHERE number = ? AND ordinal >= ? AND ordinal < ?"
            " ORDER BY ordinal",
            (group, start, stop),
        )
        return (int(place) for (place,) in rows)

    def addresses(self) -> Iterator[tuple[int, int, int, int, str, str]]:
        """Stream (policy, group, rank, leaf's number, ctid, xmin); the survivor's rank is 0.

        The groups of a policy come in the order that their survivors stand in the heap:
        neighbours share pages, of the table and often of what points at it. SQLite sorts the rows,
        in temporary files where there are many. Raises PlanError, LocalStorageError.
        """
        return self._with_members(
            "SELECT s.policy, d.number, d.ordinal, m.leaf, m.ctid, m.xmin FROM decision s"
            " CROSS JOIN found.member k ON k.key = ?1 AND k.number = s.number"
            " AND k.ordinal = s.member"
            " CROSS JOIN decision d ON d.number = s.number"
            " CROSS JOIN found.member m ON m.key = ?1 AND m.number = d.number"
            " AND m.ordinal = d.member WHERE s.ordinal = 0"
            " ORDER BY s.policy, k.leaf, CAST(substr(k.ctid, 2) AS INTEGER),"
            " CAST(substr(k.ctid, instr(k.ctid, ',') + 1) AS INTEGER), d.number, d.ordinal"
        )

    def rows_of(
        self, policies: Iterable[int]
    ) -> Iterator[PlannedRow]:
        """Stream (policy, group, leaf's number, ctid, xmin, primary key) of what they decide.

        By group and policy, the survivor first, what ``later`` gives among it; the primary key is
        a JSON array of texts. Memory: one row. Raises PlanError, LocalStorageError.
        """
        mine = f"WHERE policy IN ({', '.join(map(str, policies))})"
        return self._with_members(
            "SELECT d.policy, d.number, m.leaf, m.ctid, m.xmin, m.pk FROM"
            f" (SELECT * FROM decision {mine} UNION ALL SELECT * FROM later {mine}) d"
            " CROSS JOIN found.member m ON m.key = ?1 AND m.number = d.number"
            " AND m.ordinal = d.member ORDER BY d.number, d.policy, d.ordinal"
        )

    def losers_of(self, policy: int) -> Iterator[tuple[PlannedRow, PlannedRow]]:
        """Stream (survivor, loser) of what a policy decides, as ``rows_of`` gives them."""
        survivor: PlannedRow | None = None
        for row in self.rows_of([policy]):
            if survivor is None or survivor[1] != row[1]:
                survivor = row
            else:
                yield survivor, row

    def _with_members(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Stream what a query finds in the plan and the groups; ``?1`` is the key's number."""
        connection = connected(self._path)
        try:
            groups = f"{(self.run.path / GROUPS_FILE).absolute().as_uri()}?mode=ro"
            connection.execute("ATTACH ? AS found", (groups,))
            yield from connection.execute(query, (self.key,))
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise LocalStorageError(
                    f"cannot sort the rows of {self._path}: {error}",
                    hint="Make room where temporary files go, or name another place by"
                    " SQLITE_TMPDIR, then run the same command again.",
                    path=self._path,
                ) from error
            raise damaged(self._path, error) from error
        finally:
            connection.close()

    def later_ranks(self, group: int) -> Iterator[tuple[int, list[int]]]:
        """Give policy and places of what ``later`` says of a group. Raises PlanError."""
        rows = self._rows(
            "SELECT policy, member FROM later WHERE number = ? ORDER BY policy, ordinal", (group,)
        )
        for policy, members in groupby(rows, key=lambda row: int(row[0])):
            yield policy, [int(member) for _, member in members]

    def merged(self) -> Iterator[tuple[int, str, str | None]]:
        """Stream (group, column, the survivor's new value) of what callables merged.

        Raises PlanError.
        """
        query = "SELECT number, name, value FROM merged ORDER BY number, name"
        for number, name, value in self._rows(query):
            yield number, as_text(name), None if value is None else as_text(value)

    def facts(self) -> dict[str, Any]:
        """Return what the file says beside the decisions."""
        return dict(self._facts)

    def ranks(self) -> Iterator[list[int]]:
        """Stream, by group, the places of its members, the survivor's first. Raises PlanError."""
        rows = self._rows("SELECT number, member FROM decision ORDER BY number, ordinal")
        for _, members in groupby(rows, key=lambda row: int(row[0])):
            yield [int(member) for _, member in members]

    def _rows(self, query: str, params: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        connection = connected(self._path)
        try:
            yield from connection.execute(query, params)
        except sqlite3.DatabaseError as error:
            raise damaged(self._path, error) from error
        finally:
            connection.close()


def check_unbegun(run: Run) -> None:
    """Raise RefusedError if the run's repair has begun: its plan is fixed then."""
    if (run.path / REPAIRING_FILE).exists():
        raise RefusedError(
            f"the repair of {run.path} has begun; its plan cannot be changed any more",
            hint="Go on with: pgmend repair, take it back with: pgmend undo, or scan again.",
        )

"""What goes for good with the rows that go, where a policy accepts that: counted before it does.

Everything that hangs on such a row is followed down as the repair will follow it: what points at
it goes too, and what points at that, or says NULL from then on. Children are found by indexes
that nobody has proved, or by reading a child that has none. That is for people to look at, and no
repair goes by it.

Sources: https://www.postgresql.org/docs/current/ddl-constraints.html#DDL-CONSTRAINTS-FK,
https://www.sqlite.org/inmemorydb.html#temp_db
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from heapq import merge
from itertools import groupby, islice

from ..errors import DedupeError, LocalStorageError, QueryFailed
from ..groups import Member, as_text
from ..key.catalog import qualified
from ..plan import Plan, PlannedRow
from ..planning import known_key
from ..references import References, load_references
from ..relation import Relation
from ..session import Session
from ..surroundings import Reference, Surroundings
from .helpers import finding_index
from .involved import may_be_left_out
from .pointing import at, elements_match, matches
from .searching import BY_ADDRESS, BY_HEAP
from .telling import Telling

#: rows whose children are asked for by one statement
_PIECE = 10_000
_SCHEMA = """
PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;
-- Losers of this policy have level 0, those of the plan's others -1.
CREATE TABLE gone (
    relid INTEGER NOT NULL, place TEXT NOT NULL,
    level INTEGER NOT NULL, loser INTEGER NOT NULL, child INTEGER NOT NULL,
    PRIMARY KEY (relid, place)) WITHOUT ROWID;
CREATE TABLE emptied (
    relid INTEGER NOT NULL, place TEXT NOT NULL, said INTEGER NOT NULL, loser INTEGER NOT NULL,
    PRIMARY KEY (relid, place, said)) WITHOUT ROWID;
-- Losers of the plan's other policies, and the rows that take what points at them.
CREATE TABLE merged (
    relid INTEGER NOT NULL, place TEXT NOT NULL, into_relid INTEGER NOT NULL,
    into_place TEXT NOT NULL, PRIMARY KEY (relid, place)) WITHOUT ROWID;
CREATE TABLE survivor (loser INTEGER PRIMARY KEY, relid INTEGER NOT NULL, place TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A row that goes, and what goes with it."""

    #: number of its policy in the plan, and of its group
    policy: int
    group: int
    row: Member
    #: the row of its group that is kept
    survivor: Member
    #: whether that goes as well, since it hangs on one that goes
    survivor_goes: bool = False
    #: schema.table to its rows that go as well; each counts once, with one of those that take it
    gone: Mapping[str, int] = field(default_factory=dict)
    #: schema.table.column to rows that stay and lose what they say there
    emptied: Mapping[str, int] = field(default_factory=dict)


def list_losses(
    around: Surroundings, plan: Plan, telling: Telling, unread: list[str]
) -> Iterator[Loss]:
    """Stream what goes by the policies of a plan that accept a loss, by policy and group.

    That of the next rounds (``Plan.later``) is among it. Rows that were changed since the scan are
    found again by their primary key. ``unread`` takes a sentence for whatever could not be read or
    foreseen. Reads the rows that point at what goes, by indexes where they have one, a piece of
    10,000 rows a statement; a child without one is read once a piece. Locks: ACCESS SHARE. Memory:
    a piece; the addresses of all that goes are in a temporary file of SQLite.

    Raises PlanError, LocalStorageError (no room for that file), RepairStopped, and what the driver
    raises, translated.
    """
    key = known_key(around, plan.run, plan.key)
    for number, policy in enumerate(plan.policies):
        some = plan.shares[number][0] or plan.later_shares[number][0]
        if not some or not policy.accept_loss:
            continue
        references = load_references(around, key, policy)
        family = references.relations[references.root].family
        unread += [
            f"what of {references.relations[r.child].label}.{r.columns[0]} goes with rows of"
            f" {references.relations[r.parent].label} that become equal is not counted"
            for r in references.references
            if r.lose and r.parent not in family and references.relations[r.parent].keys
        ]
        if not any(r.lose and not r.twin and r.parent in family for r in references.references):
            continue
        telling.phase("listing what goes")
        try:
            with closing(sqlite3.connect("")) as file:
                file.executescript(_SCHEMA)
                following = _Following(around, references, plan, file, telling, unread)
                following.follow(number)
                yield from following.losses(number)
        except sqlite3.Error as error:
            raise LocalStorageError(
                f"cannot list what goes with rows of {plan.table}: {error}",
                hint="Make room where temporary files go, or name another place by SQLITE_TMPDIR,"
                " then run the same command again.",
            ) from error


class _Following:
    """One policy's losses, followed from the rows that go by the plan."""

    def __init__(
        self,
        around: Surroundings,
        references: References,
        plan: Plan,
        file: sqlite3.Connection,
        telling: Telling,
        unread: list[str],
    ) -> None:
        self._around = around
        self._session: Session = around.session
        self._references = references
        self._plan = plan
        self._file = file
        self._telling = telling
        self._unread = unread
        relations = references.relations
        #: what a reference says: the column, by the reference's number
        self._columns = {
            r.number: f"{relations[r.child].label}.{r.columns[0]}" for r in references.references
        }
        # Two references may be of one column, which a row empties once.
        first = {text: number for number, text in reversed(self._columns.items())}
        self._said = {number: first[text] for number, text in self._columns.items()}

    def follow(self, policy: int) -> None:
        """Find all that goes by a policy."""
        self._enter_losers(policy, 0)
        for other, rules in enumerate(self._plan.policies):
            if other != policy and rules.loser.action == "delete":
                self._enter_losers(other, -1)
        level, more = 0, True
        self._take_merged(0)
        while more:
            more = False
            for r in self._references.references:
                # What the policy does not let go is pointed at the row that stays.
                if level > 0 or (r.lose and not r.twin):
                    more = self._follow_one(r, level) or more
            level += 1
            more = self._take_merged(level) or more

    def _take_merged(self, level: int) -> bool:
        """Let what is merged into rows that go on a level go with them; tell whether any does."""
        more = False
        while self._file.execute(
            "UPDATE gone SET level = ?1, loser = (SELECT g.loser FROM merged m JOIN gone g"
            " ON g.relid = m.into_relid AND g.place = m.into_place"
            " WHERE m.relid = gone.relid AND m.place = gone.place)"
            " WHERE level = -1 AND EXISTS (SELECT 1 FROM merged m JOIN gone g"
            " ON g.relid = m.into_relid AND g.place = m.into_place"
            " WHERE m.relid = gone.relid AND m.place = gone.place AND g.level = ?1)",
            (level,),
        ).rowcount:
            more = True
        return more

    def losses(self, policy: int) -> Iterator[Loss]:
        """Stream what was found, loser by loser."""
        gone = self._file.execute(
            "SELECT loser, child, count(*) FROM gone WHERE level > 0 GROUP BY 1, 2"
        )
        emptied = self._file.execute(
            "SELECT e.loser, e.said, count(*) FROM emptied e WHERE NOT EXISTS (SELECT 1 FROM gone g"
            " WHERE g.relid = e.relid AND g.place = e.place) GROUP BY 1, 2"
        )
        going = self._file.execute(
            "SELECT s.loser FROM survivor s JOIN gone g ON g.relid = s.relid AND g.place = s.place"
            " WHERE g.level > 0 ORDER BY 1"
        )
        labels = {oid: one.label for oid, one in self._references.relations.items()}
        counted, said = _Counted(gone, labels), _Counted(emptied, self._columns)
        next_going = next(going, None)
        both = merge(self._plan.decisions(), self._plan.later(), key=lambda one: one.group)
        decided = (one for one in both if one.policy == policy)
        rows = ((one, row) for one in decided for row in one.losers)
        for number, (decision, row) in enumerate(rows):
            goes = next_going is not None and next_going[0] == number
            if goes:
                next_going = next(going, None)
            yield Loss(
                policy=policy, group=decision.group, row=row, survivor=decision.survivor,
                survivor_goes=goes, gone=counted.of(number), emptied=said.of(number),
            )

    def _enter_losers(self, policy: int, level: int) -> None:
        """Note the rows that go by a policy of the plan."""
        root = self._references.root
        leaves = self._plan.run.identity.leaves
        rows = enumerate(self._plan.losers_of(policy))
        while piece := list(islice(rows, _PIECE)):
            self._telling.check_stop()
            if level == 0:
                self._file.executemany(
                    "INSERT INTO survivor VALUES (?, ?, ?)",
                    ((n, leaves[kept[2]][0], kept[3]) for n, (kept, _) in piece),
                )
            else:
                self._file.executemany(
                    "INSERT OR IGNORE INTO merged VALUES (?, ?, ?, ?)",
                    (
                        (leaves[row[2]][0], row[3], leaves[kept[2]][0], kept[3])
                        for _, (kept, row) in piece
                    ),
                )
            there = [*self._as_planned([(n, row) for n, (_, row) in piece])]
            known = {n for n, *_ in there}
            there += self._changed([(n, row) for n, (_, row) in piece if n not in known])
            if len(there) < len(piece) and level == 0:
                self._unread.append(
                    f"{len(piece) - len(there):,} rows of {self._plan.table} that were to go are"
                    " not found any more"
                )
            self._file.executemany(
                "INSERT OR IGNORE INTO gone VALUES (?, ?, ?, ?, ?)",
                ((relid, place, level, number, root) for number, relid, place in there),
            )

    def _as_planned(self, rows: Sequence[tuple[int, PlannedRow]]) -> Iterator[tuple[int, int, str]]:
        """Give number, relid and place of rows that are still what the scan saw."""
        by_leaf: dict[int, list[tuple[int, str, str]]] = {}
        for number, (_, _, leaf, ctid, xmin, _) in rows:
            by_leaf.setdefault(leaf, []).append((number, ctid, xmin))
        for leaf, some in by_leaf.items():
            oid, _, schema, name = self._plan.run.identity.leaves[leaf]
            numbers, places, versions = zip(*some, strict=True)
            for number, place in self._session.rows(
                "SELECT i.n, t.ctid::text FROM ROWS FROM (pg_catalog.unnest($1::int4[]),"
                " pg_catalog.unnest($2::text[]::tid[]), pg_catalog.unnest($3::text[]))"
                f" i (n, place, version) JOIN ONLY {qualified(schema, name)} t"
                " ON t.ctid = i.place AND t.xmin::text = i.version",
                [list(numbers), list(places), list(versions)],
            ):
                yield number, oid, place

    def _changed(self, rows: Sequence[tuple[int, PlannedRow]]) -> list[tuple[int, int, str]]:
        """Find rows that were changed since the scan by their primary keys."""
        root = self._references.relations[self._references.root]
        if not rows or not root.pk:
            return []
        keys = [json.loads(as_text(row[5])) for _, row in rows]
        columns = [root.column(name) for name in root.pk]
        given = ", ".join(
            f"pg_catalog.unnest(${n}::text[])" for n in range(2, len(columns) + 2)
        )
        names = ", ".join(f"k{n}" for n in range(len(columns)))
        tests = " AND ".join(
            f"t.{column.sql} OPERATOR(pg_catalog.=) i.k{n}::{column.type}"
            for n, column in enumerate(columns)
        )
        found: list[tuple[int, int, str]] = []
        # A type of its own may be compared by an operator of its own.
        with suppress(QueryFailed), self._session.transaction(settings=BY_ADDRESS):
            found = self._session.rows(
                "SELECT DISTINCT ON (i.n) i.n, t.tableoid::int8, t.ctid::text FROM ROWS FROM"
                f" (pg_catalog.unnest($1::int4[]), {given}) i (n, {names})"
                f" JOIN {root.source} t ON {tests}",
                [[number for number, _ in rows], *map(list, zip(*keys, strict=True))],
            )
        return found

    def _follow_one(self, r: Reference, level: int) -> bool:
        """Find what points at rows of a level by a reference; tell whether more rows go."""
        relations = self._references.relations
        parent, child = relations[r.parent], relations[r.child]
        before = self._file.total_changes
        for piece in self._pieces(parent, level):
            self._telling.check_stop()
            try:
                found = self._pointing(r, parent, child, piece)
            except DedupeError as error:
                if not may_be_left_out(error):
                    raise
                told = (
                    f"what of {self._columns[r.number]} goes with rows of"
                    f" {self._plan.table} is not counted: {error.message}"
                )
                if told not in self._unread:
                    self._unread.append(told)
                break
            if r.on_loss == "delete":
                self._file.executemany(
                    "INSERT OR IGNORE INTO gone VALUES (?, ?, ?, ?, ?)",
                    ((relid, place, level + 1, n, child.oid) for n, relid, place in found),
                )
            else:
                self._file.executemany(
                    "INSERT OR IGNORE INTO emptied VALUES (?, ?, ?, ?)",
                    ((relid, place, self._said[r.number], n) for n, relid, place in found),
                )
        return r.on_loss == "delete" and self._file.total_changes > before

    def _pieces(self, parent: Relation, level: int) -> Iterator[list[tuple[int, int, str]]]:
        """Give (loser, relid, place) of the rows of a level, piece by piece."""
        for relid in sorted(parent.family):
            place = ""
            while piece := self._file.execute(
                "SELECT loser, relid, place FROM gone WHERE relid = ? AND place > ?"
                " AND level = ? ORDER BY place LIMIT ?",
                (relid, place, level, _PIECE),
            ).fetchall():
                yield piece
                place = piece[-1][2]

    def _pointing(
        self, r: Reference, parent: Relation, child: Relation, piece: Sequence[tuple[int, int, str]]
    ) -> list[tuple[int, int, str]]:
        """Return (loser, relid, place) of the rows that point at some rows."""
        numbers, relids, places = zip(*piece, strict=True)
        by_index = finding_index(self._around, r, child) is not None
        source, test = f"{child.source} c", matches(r, parent, child, "p", "c")
        if r.soft is not None and r.soft.kind == "array" and not by_index:
            # Of arrays the server can hash the elements alone.
            column = child.column(r.columns[0]).sql
            source = f"({source} CROSS JOIN LATERAL pg_catalog.unnest(c.{column}) u (value))"
            test = elements_match(r, parent, child, "p", "u.value")
        with self._session.transaction(settings=BY_ADDRESS if by_index else BY_HEAP):
            found: list[tuple[int, int, str]] = self._session.rows(
                "SELECT l.n, c.tableoid::int8, c.ctid::text FROM ROWS FROM"
                " (pg_catalog.unnest($1::int4[]), pg_catalog.unnest($2::int8[]::oid[]),"
                " pg_catalog.unnest($3::text[]::tid[])) l (n, relid, place)"
                f" JOIN {parent.source} p ON {at('p', parent, 'l.relid', 'l.place')}"
                f" JOIN {source} ON {test}",
                [list(numbers), list(relids), list(places)],
            )
        return found


class _Counted:
    """Counts by loser and by what was counted, in the order of losers."""

    def __init__(
        self, rows: Iterator[tuple[int, int, int]], names: Mapping[int, str]
    ) -> None:
        self._losers = groupby(rows, key=lambda row: row[0])
        self._names = names
        self._next = next(self._losers, None)

    def of(self, loser: int) -> dict[str, int]:
        """Return what was counted for a loser, by name; no earlier one is asked for later."""
        if self._next is None or self._next[0] != loser:
            return {}
        found: Counter[str] = Counter()
        for _, what, count in self._next[1]:
            found[self._names[what]] += count
        self._next = next(self._losers, None)
        return dict(sorted(found.items()))

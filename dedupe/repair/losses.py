"""What goes for good with the rows that go, where a policy accepts that: counted before it does.

Everything that hangs on such a row is followed down as the repair will follow it: what points at
it goes too, and what points at that, or says NULL from then on. Children are found by indexes
that nobody has proved, or by reading a child that has none. That is for people to look at, and no
repair goes by it.

Sources: https://www.postgresql.org/docs/current/ddl-constraints.html#DDL-CONSTRAINTS-FK,
https://www.sqlite.org/inmemorydb.html#temp_db
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby, islice

from ..errors import DedupeError, LocalStorageError
from ..groups import Member
from ..key.catalog import qualified
from ..plan import Plan
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
CREATE TABLE gone (
    child INTEGER NOT NULL, relid INTEGER NOT NULL, place TEXT NOT NULL,
    level INTEGER NOT NULL, loser INTEGER NOT NULL,
    PRIMARY KEY (child, relid, place)) WITHOUT ROWID;
CREATE TABLE emptied (
    reference INTEGER NOT NULL, relid INTEGER NOT NULL, place TEXT NOT NULL,
    child INTEGER NOT NULL, loser INTEGER NOT NULL,
    PRIMARY KEY (reference, relid, place)) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A row that goes, and what goes with it."""

    #: number of its policy in the plan, and of its group
    policy: int
    group: int
    row: Member
    #: the row of its group that stays
    survivor: Member
    #: schema.table to its rows that go as well; each counts once, with one of those that take it
    gone: Mapping[str, int] = field(default_factory=dict)
    #: schema.table.column to rows that stay and lose what they say there
    emptied: Mapping[str, int] = field(default_factory=dict)


def list_losses(
    around: Surroundings, plan: Plan, telling: Telling, unread: list[str]
) -> Iterator[Loss]:
    """Stream what goes by the policies of a plan that accept a loss, by policy and group.

    ``unread`` takes a sentence for each reference that could not be read. Reads the rows that
    point at what goes, by indexes where they have one, a piece of 10,000 rows a statement; a child
    without one is read once a piece. Locks: ACCESS SHARE. Memory: a piece; the addresses of all
    that goes are in a temporary file of SQLite.

    Raises PlanError, LocalStorageError (no room for that file), RepairStopped, and what the driver
    raises, translated.
    """
    key = known_key(around, plan.run, plan.key)
    for number, policy in enumerate(plan.policies):
        if not plan.shares[number][0] or not policy.accept_loss:
            continue
        references = load_references(around, key, policy)
        if not any(r.lose and not r.twin for r in references.to(references.root)):
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

    def follow(self, policy: int) -> None:
        """Find all that goes by a policy."""
        self._enter_losers(policy)
        lost, level = {self._references.root}, 0
        while lost:
            further = set()
            for parent in sorted(lost):
                for r in self._references.to(parent):
                    # What the policy does not let go is pointed at the row that stays.
                    if level == 0 and (r.twin or not r.lose):
                        continue
                    if self._follow_one(r, level):
                        further.add(r.child)
            lost, level = further, level + 1

    def losses(self, policy: int) -> Iterator[Loss]:
        """Stream what was found, loser by loser."""
        gone = _counts(
            self._file.execute(
                "SELECT loser, child, count(*) FROM gone WHERE level > 0 GROUP BY 1, 2"
            )
        )
        emptied = _counts(
            self._file.execute(
                "SELECT e.loser, e.reference, count(*) FROM emptied e WHERE NOT EXISTS"
                " (SELECT 1 FROM gone g WHERE g.child = e.child AND g.relid = e.relid"
                " AND g.place = e.place) GROUP BY 1, 2"
            )
        )
        relations = self._references.relations
        columns = {
            r.number: f"{relations[r.child].label}.{r.columns[0]}"
            for r in self._references.references
        }
        next_gone, next_emptied = next(gone, None), next(emptied, None)
        decided = (one for one in self._plan.decisions() if one.policy == policy)
        rows = ((one, row) for one in decided for row in one.losers)
        for number, (decision, row) in enumerate(rows):
            mine: dict[str, int] = {}
            if next_gone is not None and next_gone[0] == number:
                mine = {relations[oid].label: count for oid, count in next_gone[1]}
                next_gone = next(gone, None)
            said: Counter[str] = Counter()
            if next_emptied is not None and next_emptied[0] == number:
                for reference, count in next_emptied[1]:
                    said[columns[reference]] += count
                next_emptied = next(emptied, None)
            yield Loss(
                policy=policy, group=decision.group, row=row, survivor=decision.survivor,
                gone=dict(sorted(mine.items())), emptied=dict(sorted(said.items())),
            )

    def _enter_losers(self, policy: int) -> None:
        """Note the rows that go by the plan, as far as they are still those that it knows."""
        root, leaves = self._references.root, self._plan.run.identity.leaves
        ranked = groupby(self._plan.rows_of([policy]), key=lambda row: row[1])
        rows = enumerate(row for _, group in ranked for row in islice(group, 1, None))
        while piece := list(islice(rows, _PIECE)):
            self._telling.check_stop()
            by_leaf: dict[int, list[tuple[int, str, str]]] = {}
            for number, (_, _, leaf, ctid, xmin, _) in piece:
                by_leaf.setdefault(leaf, []).append((number, ctid, xmin))
            for leaf, some in by_leaf.items():
                oid, _, schema, name = leaves[leaf]
                numbers, places, versions = zip(*some, strict=True)
                found = self._session.rows(
                    "SELECT i.n, t.ctid::text FROM ROWS FROM (pg_catalog.unnest($1::int4[]),"
                    " pg_catalog.unnest($2::text[]::tid[]), pg_catalog.unnest($3::text[]))"
                    " i (n, place, version)"
                    f" JOIN ONLY {qualified(schema, name)} t"
                    " ON t.ctid = i.place AND t.xmin::text = i.version",
                    [list(numbers), list(places), list(versions)],
                )
                self._file.executemany(
                    "INSERT OR IGNORE INTO gone VALUES (?, ?, ?, 0, ?)",
                    ((root, oid, place, number) for number, place in found),
                )

    def _follow_one(self, r: Reference, level: int) -> bool:
        """Find what points at rows of a level by a reference; tell whether more rows go."""
        relations = self._references.relations
        parent, child = relations[r.parent], relations[r.child]
        if r.on_loss == "delete":
            statement = "INSERT OR IGNORE INTO gone VALUES (?1, ?3, ?4, ?5, ?6)"
        else:
            statement = "INSERT OR IGNORE INTO emptied VALUES (?2, ?3, ?4, ?1, ?6)"
        more = False
        for piece in self._pieces(parent, level):
            self._telling.check_stop()
            try:
                found = self._pointing(r, parent, child, piece)
            except DedupeError as error:
                if not may_be_left_out(error):
                    raise
                told = (
                    f"what of {child.label}.{r.columns[0]} goes with rows of"
                    f" {self._plan.table} is not counted: {error.message}"
                )
                if told not in self._unread:
                    self._unread.append(told)
                break
            before = self._file.total_changes
            self._file.executemany(
                statement,
                ((child.oid, r.number, relid, place, level + 1, n) for n, relid, place in found),
            )
            more = more or self._file.total_changes > before
        return more and r.on_loss == "delete"

    def _pieces(self, parent: Relation, level: int) -> Iterator[list[tuple[int, int, str]]]:
        """Give (loser, relid, place) of the rows of a level, piece by piece."""
        relid, place = -1, ""
        while piece := self._file.execute(
            "SELECT loser, relid, place FROM gone WHERE child = ?1 AND (relid, place) > (?2, ?3)"
            " AND level = ?4 ORDER BY relid, place LIMIT ?5",
            (parent.oid, relid, place, level, _PIECE),
        ).fetchall():
            yield piece
            _, relid, place = piece[-1]

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


def _counts(
    rows: Iterable[tuple[int, int, int]],
) -> Iterator[tuple[int, list[tuple[int, int]]]]:
    """Give loser by loser what was counted for it."""
    for loser, some in groupby(rows, lambda row: row[0]):
        yield loser, [(what, count) for _, what, count in some]

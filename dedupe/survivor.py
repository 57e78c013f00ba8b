"""Survivors: which row of each group stays, decided on the server batch by batch.

Rows are read by address and only as the scan saw them. Locks: ACCESS SHARE. Memory: one
batch of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeAlias

from .callables import Callables, RowsByLeaf, array_text
from .decision import LARGE_GROUP, AllBehind, Ranking
from .policy import CHOSEN, Keep, Policy, Program
from .references import References
from .repair.pointing import matches
from .scan.run import Run
from .session import Session
from .table import quoted

#: number of the leaf, ctid, xmin
Row: TypeAlias = tuple[int, str, str]
_BATCH = 500
#: planner settings for counting references: the child is read once a batch
_COUNTING = {"enable_seqscan": "on", "enable_hashjoin": "on"}


class Planner:
    """Decides batches of groups by one policy; those that it is not for go to the next one."""

    def __init__(
        self,
        session: Session,
        run: Run,
        policy: Policy,
        references: References,
        program: Program,
        *,
        number: int = 0,
        otherwise: Planner | None = None,
    ) -> None:
        """Decide by policy ``number`` of the plan; ``otherwise`` decides what is left."""
        self._number = number
        self._otherwise = otherwise
        self._program = program
        self._callables = Callables(
            session, references.relations[references.root], program
        )
        #: groups that wait to be decided, each with place and (leaf's number, ctid, xmin) of rows
        self.pending: dict[int, list[tuple[int, Row]]] = {}
        #: those of which a part is decided by an earlier policy: it is looked ahead for them
        self._later: set[int] = set()
        self._waiting = 0
        self.left_out = 0
        self._groups = self._losers = self._apart = self._changed = self._ties = 0
        self._parted = 0
        self._later_groups = self._later_losers = 0
        self._session = session
        self._policy = policy
        self._references = references
        self._root = references.relations[references.root]
        self._leaves = [
            (oid, f"{quoted(schema)}.{quoted(name)}")
            for oid, _, schema, name in run.identity.leaves
        ]
        counting = any(keep.by == "most-referenced" for keep in policy.keep)
        self.batch = 20 * _BATCH if counting else _BATCH

    def facts(self) -> dict[str, Any]:
        """Return what was counted, by this planner and by those behind it."""
        behind = self._otherwise.facts() if self._otherwise is not None else {}
        shares = [[self._groups, self._losers], *behind.get("shares", [])]
        later = [[self._later_groups, self._later_losers], *behind.get("later_shares", [])]
        return {
            "groups": sum(groups for groups, _ in shares),
            "losers": sum(losers for _, losers in shares),
            "shares": shares,
            "later_shares": later,
            "kept_apart": self._apart + behind.get("kept_apart", 0),
            "changed": self._changed + behind.get("changed", 0),
            "parted": self._parted + behind.get("parted", 0),
            "left_out": self.left_out,
            "ties": self._ties + behind.get("ties", 0),
        }

    def decide(self) -> Iterator[Ranking]:
        """Decide the pending groups."""
        pending, self.pending = self.pending, {}
        ahead, self._later = self._later, set()
        self._waiting = 0
        if not pending:
            return
        by_leaf = self._by_leaf(
            (group, place, row)
            for group, members in pending.items()
            for place, row in members
        )
        rows = self._ask(by_leaf)
        ranked: dict[int, list[int]] = {}
        for number, place, tied in rows:
            ranked.setdefault(number, []).append(place)
            if tied and len(ranked[number]) == 1:
                self._ties += 1
        self._callables.choose(by_leaf, ranked)
        merged = self._callables.merged(by_leaf, ranked)
        apart = self._kept_apart(by_leaf, ranked) if self._policy.same is not None else {}
        for number, members in pending.items():
            places = ranked.get(number, [])
            later = number in ahead
            whole = len(places) == len(members)
            if whole and number in apart and self._otherwise is not None:
                others = apart.pop(number)
                places = [place for place in places if place not in others]
                if len(places) == 1:
                    self._otherwise.add(number, members, later=later)
                    continue
                # Whoever is left of the group is decided about in the next round.
                self._parted += not later
                if self._policy.loser.action != "report":
                    left = [one for one in members if one[0] == places[0] or one[0] in others]
                    self._otherwise.add(number, left, later=True)
            if self._counted(len(places), whole=whole, apart=number in apart, later=later):
                yield Ranking(number, places, merged.get(number, {}), self._number, later)
        if self._otherwise is not None:
            yield from self._otherwise.decide()

    def _counted(self, size: int, *, whole: bool, apart: bool, later: bool) -> bool:
        """Count a group; returns whether it is to be repaired."""
        left = apart or self._policy.loser.action == "report"
        if later:
            goes = whole and not left
            self._later_groups += goes
            self._later_losers += goes * (size - 1)
            return goes
        if not whole:
            self._changed += 1
        elif left:
            self._apart += 1
        else:
            self._groups += 1
            self._losers += size - 1
            return True
        return False

    def _by_leaf(self, rows: Iterable[tuple[int, int, Row]]) -> RowsByLeaf:
        """Sort (group, place, row) by the leaf that holds the row."""
        by_leaf: dict[tuple[int, str], list[tuple[str, int, int, str]]] = {}
        for group, place, (leaf, ctid, xmin) in rows:
            by_leaf.setdefault(self._leaves[leaf], []).append((ctid, group, place, xmin))
        return by_leaf

    def add(self, group: int, members: list[tuple[int, Row]], *, later: bool = False) -> bool:
        """Let a group wait to be decided; returns whether enough of them do.

        ``later``: a part of it is decided, and these rows will be in the repair's next round.
        """
        self.pending[group] = members
        if later:
            self._later.add(group)
        self._waiting += len(members)
        # A piece of a large group is as many rows.
        return len(self.pending) >= self.batch or self._waiting >= self.batch * 10

    def streams(self, size: int) -> bool:
        """Tell whether a group of ``size`` rows is decided piece by piece.

        Not where its rows have to be seen together: by a callable, by what merges their
        values in their order, by the predicate of rows that may be merged.
        """
        together = self._program.keep or self._policy.merge or self._policy.same
        return size > LARGE_GROUP and not together

    def decide_large(
        self, group: int, size: int, members: Iterator[Row]
    ) -> Iterator[Ranking]:
        """Decide a large group: the best row of each piece meets those of the next.

        The losers come in heap order. Memory: one piece.
        """
        best: tuple[int, Row] | None = None
        tied = False
        there = 0
        numbered = enumerate(members)
        while piece := list(islice(numbered, self.batch * 10)):
            met = piece if best is None else [best, *piece]
            rows = self._ask(self._by_leaf((group, place, row) for place, row in met))
            there += len(rows) - (best is not None)
            if rows:
                place = rows[0][1]
                stays = best is not None and place == best[0]
                tied = rows[0][2] or (tied and stays)
                best = next(one for one in met if one[0] == place)
        whole = there == size
        if self._counted(size, whole=whole, apart=False, later=False) and best is not None:
            self._ties += tied
            yield Ranking(group, AllBehind(best[0], size), {}, self._number)

    def _ask(self, by_leaf: RowsByLeaf) -> list[tuple[int, int, bool]]:
        """Read the rows that are as the scan saw them, each group in the policy's order."""
        orders, terms = self._orders()
        names = [f'"pgmend {n}"' for n in range(len(orders))]
        columns = "".join(
            f", {order} AS {name}" for order, name in zip(orders, names, strict=True)
        )
        parts: list[str] = []
        params: list[str] = []
        for leaf, rows in by_leaf.items():
            first = len(params) + 1
            params += [array_text(row[n] for row in rows) for n in range(4)]
            given = ", ".join(
                f"pg_catalog.unnest(${first + n}::{kind}[])"
                for n, kind in enumerate(("tid", "int4", "int4", "text"))
            )
            parts.append(
                f'SELECT i."pgmend group", i."pgmend place", r.* FROM ROWS FROM ({given})'
                ' i ("pgmend ctid", "pgmend group", "pgmend place", "pgmend xmin")'
                f' CROSS JOIN LATERAL (SELECT ctid AS "pgmend tid"{columns} FROM ONLY {leaf[1]}'
                ' AS "pgmend row"'
                ' WHERE ctid = i."pgmend ctid" AND xmin::text = i."pgmend xmin") r'
            )
        sorting = ", ".join(
            f"{name} {term}" for name, term in zip(names, terms, strict=True)
        )
        window = f'(PARTITION BY "pgmend group" ORDER BY {sorting})'
        query = (
            f"WITH m AS MATERIALIZED ({' UNION ALL '.join(parts)})"
            ' SELECT "pgmend group", "pgmend place", "pgmend first" = 1 AND'
            ' count(*) FILTER (WHERE "pgmend first" = 1) OVER (PARTITION BY "pgmend group") > 1'
            f' FROM (SELECT *, rank() OVER {window} AS "pgmend first" FROM m) s'
            f' ORDER BY "pgmend group", {sorting}, "pgmend place"'
        )
        settings = {"search_path": self._session.own_search_path, "work_mem": "32MB"}
        with self._session.transaction(settings={**settings, **_COUNTING}):
            # The groups' own rows by address; only what counts references reads a heap.
            return [(r[0], r[1], bool(r[2])) for r in self._session.rows(query, params)]

    def _orders(self) -> tuple[list[str], list[str]]:
        """Return the expressions that rows are ordered by, and the direction of each."""
        pk = [quoted(name) for name in self._root.pk]
        orders, terms = [], []
        for keep in self._policy.keep:
            if keep.by in {"oldest", "newest"}:
                orders += pk
                terms += ["ASC" if keep.by == "oldest" else "DESC"] * len(pk)
            elif keep.by == CHOSEN:
                continue
            elif keep.by == "most-referenced":
                orders.append(self._reference_count())
                terms.append("DESC")
            else:
                orders.append(f"({keep.by})")
                terms.append(_direction(keep))
        return orders + pk, terms + ["ASC"] * len(pk)

    def _reference_count(self) -> str:
        """Write the number of rows that point at a row."""
        counts = []
        for r in self._references.to(self._references.root):
            child = self._references.relations[r.child]
            pointing = matches(r, self._root, child, '"pgmend row"', "c")
            counts.append(f"(SELECT count(*) FROM {child.source} c WHERE {pointing})")
        return f"({' + '.join(counts)})" if counts else "0"

    def _kept_apart(
        self,
        by_leaf: RowsByLeaf,
        ranked: Mapping[int, list[int]],
    ) -> dict[int, set[int]]:
        """Return the places of losers that must not be merged into the survivor, by group."""
        first = {number: places[0] for number, places in ranked.items()}
        leaves, tids, groups, numbers, survivors = [], [], [], [], []
        for leaf, rows in by_leaf.items():
            for ctid, number, place, _ in rows:
                if number in first:
                    leaves.append(leaf[0])
                    tids.append(ctid)
                    groups.append(number)
                    numbers.append(place)
                    survivors.append(place == first[number])
        at = "tableoid = {0}.relid AND ctid = {0}.place"
        query = (
            "WITH i AS MATERIALIZED (SELECT * FROM ROWS FROM (pg_catalog.unnest($1::int8[]::oid[]),"
            " pg_catalog.unnest($2::tid[]), pg_catalog.unnest($3::int4[]),"
            " pg_catalog.unnest($4::int4[]), pg_catalog.unnest($5::bool[]))"
            " i (relid, place, grp, number, survivor))"
            " SELECT l.grp, l.number FROM i s JOIN i l ON l.grp = s.grp AND NOT l.survivor"
            f" CROSS JOIN LATERAL (SELECT * FROM {self._root.source} WHERE {at.format('s')}) a"
            f" CROSS JOIN LATERAL (SELECT * FROM {self._root.source} WHERE {at.format('l')}) b"
            f" WHERE s.survivor AND ({self._policy.same}\n) IS NOT TRUE"
        )
        params = [array_text(one) for one in (leaves, tids, groups, numbers, survivors)]
        found: dict[int, set[int]] = {}
        with self._session.transaction(settings={"search_path": self._session.own_search_path}):
            for number, place in self._session.rows(query, params):
                found.setdefault(number, set()).add(place)
        return found


def _direction(keep: Keep) -> str:
    return "DESC NULLS LAST" if keep.descending else "ASC NULLS LAST"

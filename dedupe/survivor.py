"""Survivors: which row of each group stays, decided on the server batch by batch.

Rows are read by address and only as the scan saw them. Locks: ACCESS SHARE. Memory: one
batch of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from .decision import LARGE_GROUP, AllBehind, Ranking
from .errors import PolicyError, QueryFailed
from .journal import image
from .policy import CHOSEN, Chooser, Keep, Policy, Program
from .references import References
from .relation import Column
from .repair.pointing import matches, whole_type
from .scan.run import Run
from .session import Session
from .table import quoted

_BATCH = 500
#: planner settings for counting references: the child is read once a batch
_COUNTING = {"enable_seqscan": "on", "enable_hashjoin": "on"}


class Planner:
    """Decides batches of groups."""

    def __init__(
        self,
        session: Session,
        run: Run,
        policy: Policy,
        references: References,
        program: Program,
    ) -> None:
        self._program = program
        #: groups that wait to be decided, each with (leaf's number, ctid, xmin) of its rows
        self.pending: dict[int, list[tuple[int, str, str]]] = {}
        self._waiting = 0
        self.left_out = 0
        self._groups = self._losers = self._apart = self._changed = self._ties = 0
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
        """Return what was counted."""
        return {
            "groups": self._groups,
            "losers": self._losers,
            "kept_apart": self._apart,
            "changed": self._changed,
            "left_out": self.left_out,
            "ties": self._ties,
        }

    @property
    def losers(self) -> int:
        """Rows that do not stay."""
        return self._losers

    @property
    def ties(self) -> int:
        """Groups whose rows are alike in all that they are ordered by."""
        return self._ties

    def decide(self) -> Iterator[Ranking]:
        """Decide the pending groups."""
        pending, self.pending = self.pending, {}
        self._waiting = 0
        if not pending:
            return
        by_leaf: dict[tuple[int, str], list[tuple[str, int, int, str]]] = {}
        sizes = {group: len(members) for group, members in pending.items()}
        for group, members in pending.items():
            for place, (leaf, ctid, xmin) in enumerate(members):
                by_leaf.setdefault(self._leaves[leaf], []).append((ctid, group, place, xmin))
        rows = self._ask(by_leaf)
        ranked: dict[int, list[int]] = {}
        for number, place, tied in rows:
            ranked.setdefault(number, []).append(place)
            if tied and len(ranked[number]) == 1:
                self._ties += 1
        if self._program.keep is not None:
            self._choose(by_leaf, ranked, self._program.keep)
        merged = self._merged(by_leaf, ranked) if self._program.merge else {}
        apart = self._kept_apart(by_leaf, ranked) if self._policy.same is not None else set()
        whole: dict[int, list[int]] = {}
        for number, size in sizes.items():
            places = ranked.get(number, [])
            if len(places) != size:
                self._changed += 1
            elif number in apart or self._policy.loser.action == "report":
                self._apart += 1
            else:
                self._groups += 1
                self._losers += size - 1
                whole[number] = places
        for number, places in whole.items():
            yield Ranking(number, places, merged.get(number, {}))

    def add(self, group: int, members: list[tuple[int, str, str]]) -> bool:
        """Let a group wait to be decided; returns whether enough of them do."""
        self.pending[group] = members
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
        self, group: int, size: int, members: Iterator[tuple[int, str, str]]
    ) -> Iterator[Ranking]:
        """Decide a large group: the best row of each piece meets those of the next.

        The losers come in heap order. Memory: one piece.
        """
        best: tuple[int, tuple[int, str, str]] | None = None
        tied = False
        there = 0
        numbered = enumerate(members)
        while piece := list(islice(numbered, self.batch * 10)):
            met = piece if best is None else [best, *piece]
            by_leaf: dict[tuple[int, str], list[tuple[str, int, int, str]]] = {}
            for place, (leaf, ctid, xmin) in met:
                by_leaf.setdefault(self._leaves[leaf], []).append((ctid, group, place, xmin))
            rows = self._ask(by_leaf)
            there += len(rows) - (best is not None)
            if rows:
                place = rows[0][1]
                stays = best is not None and place == best[0]
                tied = rows[0][2] or (tied and stays)
                best = next(one for one in met if one[0] == place)
        if there != size or best is None:
            self._changed += 1
        elif self._policy.loser.action == "report":
            self._apart += 1
        else:
            self._groups += 1
            self._losers += size - 1
            self._ties += tied
            yield Ranking(group, AllBehind(best[0], size), {})

    def _choose(
        self,
        by_leaf: Mapping[tuple[int, str], list[tuple[str, int, int, str]]],
        ranked: dict[int, list[int]],
        chooser: Chooser,
    ) -> None:
        """Let a callable see the rows of each group and name the one that stays."""
        rows = self._values(by_leaf, ranked, self._root.stored)
        for number, places_of in ranked.items():
            if not places_of:
                continue
            with _asked(f"the callable that chooses, about group {number},"):
                choice = chooser([rows[number, place] for place in places_of])
            if not 0 <= choice < len(places_of):
                raise PolicyError(
                    f"the callable chose row {choice} of group {number}, which has"
                    f" {len(places_of)} rows",
                    hint="It has to return the place of a row in the sequence, from 0.",
                )
            places_of.insert(0, places_of.pop(choice))

    def _merged(
        self,
        by_leaf: Mapping[tuple[int, str], list[tuple[str, int, int, str]]],
        ranked: dict[int, list[int]],
    ) -> dict[int, dict[str, str | None]]:
        """Let callables say what columns of the survivors become, by group."""
        columns = [self._root.column(name) for name in self._program.merge]
        rows = self._values(by_leaf, ranked, columns)
        merged: dict[int, dict[str, str | None]] = {number: {} for number in ranked}
        for column in columns:
            merger = self._program.merge[column.name]
            for number, places in ranked.items():
                if not places:
                    continue
                with _asked(f"the callable for {column.name}, about group {number},"):
                    value = merger([rows[number, place][column.name] for place in places])
                wrong = not isinstance(value, str) if value is not None else column.not_null
                if wrong:
                    raise PolicyError(
                        f"the callable for {column.name} returned {value!r} for group {number}",
                        hint="It has to return a text, as PostgreSQL writes the value"
                        + ("; the column is NOT NULL." if column.not_null else ", or None."),
                    )
                merged[number][column.name] = value
            said = [values[column.name] for values in merged.values() if column.name in values]
            self._check_values(column, said)
        return merged

    def _check_values(self, column: Column, values: list[str | None]) -> None:
        """Raise PolicyError where a callable's value cannot be one of the column."""
        whole = f"v::{whole_type(column)}"
        # What a length would cut from a text, an assignment refuses.
        cut = f"{whole}::{column.type}::text <> {whole}::text" if column.text else "false"
        try:
            with self._session.transaction():
                long = self._session.rows(
                    f"SELECT v FROM pg_catalog.unnest($1::text[]) u (v) WHERE"
                    f" pg_catalog.num_nulls({whole}::{column.type}) > 1 OR {cut} LIMIT 1",
                    [values],
                )
            if long:
                raise PolicyError(
                    f"the callable for {column.name} returned {long[0][0]!r}, which is too long"
                    f" for {column.type}",
                    hint="Return what the column can hold.",
                )
        except QueryFailed as error:
            raise PolicyError(
                f"the callable for {column.name} returned what is no {column.type}:"
                f" {error.message}",
                hint="It has to return a text, as PostgreSQL writes the value, or None.",
            ) from error

    def _values(
        self,
        by_leaf: Mapping[tuple[int, str], list[tuple[str, int, int, str]]],
        ranked: dict[int, list[int]],
        columns: Sequence[Column],
    ) -> dict[tuple[int, int], dict[str, str | None]]:
        """Read columns of the rows as text, by group and place.

        A group of which a row was changed since it was ranked is ranked no more.
        """
        names = [column.name for column in columns]
        rows: dict[tuple[int, int], dict[str, str | None]] = {}
        for (_, leaf), members in by_leaf.items():
            places = {(ctid, xmin): (number, place) for ctid, number, place, xmin in members}
            with self._session.transaction():
                for ctid, xmin, values in self._session.rows(
                    f"SELECT ctid::text, xmin::text, {image(columns, 't')} FROM ONLY {leaf} t"
                    " WHERE ctid = ANY ($1::tid[])",
                    [_array(ctid for ctid, _ in places)],
                ):
                    if (ctid, xmin) in places:
                        rows[places[ctid, xmin]] = dict(zip(names, values, strict=True))
        for number, ranks in ranked.items():
            if any((number, place) not in rows for place in ranks):
                ranked[number] = []
        return rows

    def _ask(
        self, by_leaf: Mapping[tuple[int, str], list[tuple[str, int, int, str]]]
    ) -> list[tuple[int, int, bool]]:
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
            params += [_array(row[n] for row in rows) for n in range(4)]
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
        by_leaf: Mapping[tuple[int, str], list[tuple[str, int, int, str]]],
        ranked: Mapping[int, list[int]],
    ) -> set[int]:
        """Return the groups with a loser that must not be merged into the survivor."""
        first = {number: places[0] for number, places in ranked.items()}
        leaves, tids, groups, survivors = [], [], [], []
        for leaf, rows in by_leaf.items():
            for ctid, number, place, _ in rows:
                if number in first:
                    leaves.append(leaf[0])
                    tids.append(ctid)
                    groups.append(number)
                    survivors.append(place == first[number])
        at = "tableoid = {0}.relid AND ctid = {0}.place"
        query = (
            "WITH i AS MATERIALIZED (SELECT * FROM ROWS FROM (pg_catalog.unnest($1::int8[]::oid[]),"
            " pg_catalog.unnest($2::tid[]), pg_catalog.unnest($3::int4[]),"
            " pg_catalog.unnest($4::bool[])) i (relid, place, grp, survivor))"
            " SELECT DISTINCT s.grp FROM i s JOIN i l ON l.grp = s.grp AND NOT l.survivor"
            f" CROSS JOIN LATERAL (SELECT * FROM {self._root.source} WHERE {at.format('s')}) a"
            f" CROSS JOIN LATERAL (SELECT * FROM {self._root.source} WHERE {at.format('l')}) b"
            f" WHERE s.survivor AND ({self._policy.same}\n) IS NOT TRUE"
        )
        params = [_array(one) for one in (leaves, tids, groups, survivors)]
        with self._session.transaction(settings={"search_path": self._session.own_search_path}):
            return {row[0] for row in self._session.rows(query, params)}


@contextmanager
def _asked(what: str) -> Iterator[None]:
    """Say which callable it was that failed."""
    try:
        yield
    except Exception as error:
        raise PolicyError(
            f"{what} failed: {error!r}", hint="Mend the callable, then plan again."
        ) from error


def _array(values: Any) -> str:
    """Write a PostgreSQL array as one text: the driver would look at every element."""
    return '{"' + '","'.join(map(str, values)) + '"}'


def _direction(keep: Keep) -> str:
    return "DESC NULLS LAST" if keep.descending else "ASC NULLS LAST"

"""Callables that have a say in a plan: what they are shown, and what they may answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from .errors import PolicyError, QueryFailed
from .journal import image
from .policy import Program
from .relation import Column, Relation
from .repair.pointing import whole_type
from .session import Session

#: rows by the oid and the SQL name of their leaf: (ctid, group, place, xmin)
RowsByLeaf: TypeAlias = Mapping[tuple[int, str], list[tuple[str, int, int, str]]]


class Callables:
    """Asks the callables of one policy. Reads rows by address, only as they were ranked."""

    def __init__(self, session: Session, root: Relation, program: Program) -> None:
        self._session = session
        self._root = root
        self._program = program

    def choose(self, by_leaf: RowsByLeaf, ranked: dict[int, list[int]]) -> None:
        """Let a callable, if there is one, name the row of each group that stays."""
        chooser = self._program.keep
        if chooser is None:
            return
        rows = self._values(by_leaf, ranked, self._root.stored)
        for number, places_of in ranked.items():
            with _asked(f"the callable that chooses, about group {number},"):
                choice = chooser([rows[number, place] for place in places_of])
            if not 0 <= choice < len(places_of):
                raise PolicyError(
                    f"the callable chose row {choice} of group {number}, which has"
                    f" {len(places_of)} rows",
                    hint="It has to return the place of a row in the sequence, from 0.",
                )
            places_of.insert(0, places_of.pop(choice))

    def merged(
        self, by_leaf: RowsByLeaf, ranked: dict[int, list[int]]
    ) -> dict[int, dict[str, str | None]]:
        """Let callables, if there are any, say what columns of survivors become, by group."""
        if not self._program.merge:
            return {}
        columns = [self._root.column(name) for name in self._program.merge]
        rows = self._values(by_leaf, ranked, columns)
        merged: dict[int, dict[str, str | None]] = {number: {} for number in ranked}
        for column in columns:
            merger = self._program.merge[column.name]
            for number, places in ranked.items():
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
            self._check_values(column, [values[column.name] for values in merged.values()])
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
        by_leaf: RowsByLeaf,
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
                    [array_text(ctid for ctid, _ in places)],
                ):
                    if (ctid, xmin) in places:
                        rows[places[ctid, xmin]] = dict(zip(names, values, strict=True))
        for number, ranks in list(ranked.items()):
            if any((number, place) not in rows for place in ranks):
                del ranked[number]
        return rows


@contextmanager
def _asked(what: str) -> Iterator[None]:
    """Say which callable it was that failed."""
    try:
        yield
    except Exception as error:
        raise PolicyError(
            f"{what} failed: {error!r}", hint="Mend the callable, then plan again."
        ) from error


def array_text(values: Any) -> str:
    """Write a PostgreSQL array as one text: the driver would look at every element."""
    return '{"' + '","'.join(map(str, values)) + '"}'

"""Draws the rows of a database's tables, so that they break none of its keys."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

from dedupe.policy import SoftReference

from .schemas import PAYLOADS, Reference, Row, Table, Unique

HOSTILE = ("select", "a %s", 'é"x', "b {0}", "pay load", "Z")
WORDS = ("a", "A", "b", "ß")


@dataclass(slots=True)
class Link:
    """A reference while rows are made: where it leads, and whether it may be NULL."""

    reference: Reference
    nullable: bool


class Filler:
    """Draws rows; the tables are drawn by who inherits this."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.random = random.Random(draw(st.integers(0, 1 << 32)))
        self.tables: list[Table] = []
        self.links: dict[str, list[Link]] = {}
        self.soft: list[SoftReference] = []
        #: rows of each table as far as references need them: id and code
        self.heads: dict[str, list[Row]] = {}
        #: those of t0 that are duplicates
        self.twins: list[Row] = []

    def some(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def chance(self, of: int) -> bool:
        """Draw whether something happens that happens once in ``of`` times."""
        return self.draw(st.integers(0, of - 1)) == of - 1

    def fill(self, table: Table) -> None:
        """Draw the rows; one that would break a key gets another slot, word or parent."""
        for head in self.heads[table.name]:
            row = dict(head)
            for link in self.links[table.name]:
                self.lead(row, link, self.pick(link))
            if table.name != "t0":
                row["slot"] = self.some("0", "0", "1")
                row["word"] = self.some(None, *WORDS)
                self.fill_soft(table, row)
                self.settle(table, row)
            for column in table.columns:
                if column.name in HOSTILE:
                    row[column.name] = self.random.choice([None, *PAYLOADS[column.type]])
            table.rows.append(row)

    def parents(self, link: Link) -> list[Row]:
        """Give the rows that can be referenced."""
        parent = next(table for table in self.tables if table.name == link.reference.parent)
        wanted = link.reference.parent_columns
        rows = self.heads[parent.name] if set(wanted) <= {"id", "code"} else parent.rows
        return [row for row in rows if all(row.get(column) is not None for column in wanted)]

    def pick(self, link: Link) -> Row | None:
        if not (parents := self.parents(link)) and not link.nullable:
            reject()
        if not parents or (link.nullable and self.chance(5)):
            return None
        # Twins have children more often, so that these meet.
        often = link.reference.parent == "t0" and self.chance(2)
        return self.some(*(self.twins if often else parents))

    def lead(self, row: Row, link: Link, parent: Row | None) -> None:
        """Let a row reference a row."""
        reference = link.reference
        for mine, theirs in zip(reference.columns, reference.parent_columns, strict=True):
            row[mine] = parent[theirs] if parent else None
        half = len(reference.columns) > 1 and reference.match == "SIMPLE"
        if parent is None and half and self.chance(2):
            # Half a reference is none, so what stands in it leads nowhere.
            row[reference.columns[-1]] = self.some("101", "107", "7")

    def settle(self, table: Table, row: Row) -> None:
        """Change a row until it breaks no key of its table."""
        taken = {
            unique.name: {unique.value(other) for other in table.rows} - {None}
            for unique in table.uniques
        }

        def broken(unique: Unique) -> bool:
            return unique.value(row) in taken[unique.name]

        for _ in range(50):
            unique = next(filter(broken, table.uniques), None)
            if unique is None:
                return
            if "slot" in unique.columns:
                row["slot"] = str(int(row["slot"] or 0) + 1)
            elif "word" in unique.columns:
                row["word"] = f"W{row['no']}"
            else:
                self.lead_elsewhere(table, row, unique, taken[unique.name])
        reject()

    def lead_elsewhere(self, table: Table, row: Row, unique: Unique, taken: set[Any]) -> None:
        for link in self.links[table.name]:
            mine = set(link.reference.columns) <= set(unique.columns)
            for parent in self.parents(link) if mine else ():
                self.lead(row, link, parent)
                if unique.value(row) not in taken:
                    return
            if mine and link.nullable:
                self.lead(row, link, None)
                return
        reject()

    def fill_soft(self, table: Table, row: Row) -> None:
        ids = [head["id"] or "" for head in self.heads["t0"]]
        for soft in self.soft:
            if soft.table != table.label:
                continue
            one = self.some(*ids)
            if soft.type_column is not None:
                row[soft.type_column] = self.some("T'0", "T'0", "Other", None)
                row[soft.column] = self.some(one, one, one, None)
            elif soft.kind == "array":
                some = self.draw(st.lists(st.sampled_from([*ids, "NULL"]), max_size=4, unique=True))
                row[soft.column] = self.some(None, *["{" + ",".join(some) + "}"] * 4)
            elif soft.kind == "jsonb":
                leaf = self.some(one, one, f'"{one}"', "null")
                for key in reversed(soft.path):
                    leaf = f'{{"{key}": {leaf}, "other": {one}}}'
                row[soft.column] = self.some(leaf, leaf, leaf, "[1]", "{}", None)
            else:
                row[soft.column] = self.some(one, one, one, "O'Neil", None)

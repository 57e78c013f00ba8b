"""A database whose key lied, for scenarios that are written out, and the steps of its repair."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dedupe
from dedupe.lab.damage import Damage, damage

from .heap import Connection
from .repaired import check_indexes, copies


@dataclass(slots=True)
class Shop:
    """A database with a table whose key lied, and the steps of its repair."""

    dsn: str
    server: Connection
    run: Path
    #: rows of every table before the repair
    before: dict[str, list[bytes]] = field(default_factory=dict)

    def make(
        self, sql: str, index: str, twins: str, kind: Damage = Damage.INDEXED_TWICE, then: str = ""
    ) -> None:
        """Make tables, let ``twins`` in under the index, and make what references them."""
        self.server.execute(sql)
        damage(self.dsn, index, kind, [part for part in twins.split(";") if part.strip()])
        if then:
            self.server.execute(then)
        self.before = copies(self.server)

    def planned(self, key: str, keep: str = "oldest", **rules: Any) -> dedupe.Plan:
        run = dedupe.scan(self.dsn, dedupe.MatchKey.from_index(key), self.run)
        return dedupe.plan(run, keep=keep, db=self.dsn, **rules)

    def repaired(self, made: dedupe.Plan, **options: Any) -> dedupe.Result:
        """Repair, and look whether all is well."""
        result = dedupe.repair(made, db=self.dsn, execute=True, **options)
        assert (result.status, result.left) == ("repaired", 0), result
        check_indexes(self.server)
        assert dedupe.verify(made.run, db=self.dsn).findings == ()
        return result

    def undone(self, made: dedupe.Plan, *dropped: str) -> None:
        """Undo, and find every row as it was."""
        undone = dedupe.undo(made.run, db=self.dsn, execute=True, drop_constraints=dropped)
        assert (undone.status, undone.refused) == ("undone", ())
        assert copies(self.server) == self.before

    def rows(self, query: str) -> list[Any]:
        """Ask the heap; one column is given bare."""
        found = self.server.execute(query.encode()).fetchall()
        return [row[0] if len(row) == 1 else row for row in found]

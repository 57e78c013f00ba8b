"""A contestant that is one SQL statement, in a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .contest import Outcome, noted
from .measure import measured, open_target
from .processes import NO_LIMITS, Limits
from .table import Table
from .truth import Found


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement over a table."""

    name: str
    #: SQL with {table} and {key}; identifiers of the benchmark's own tables need no quotes
    sql: str
    #: settings of its session; none: as the server has them
    settings: Mapping[str, str] = field(default_factory=dict)
    #: whether each row of the answer is a group: an array of primary keys
    groups: bool

    def run(self, table: Table, scratch: Path, limits: Limits = NO_LIMITS) -> Outcome:
        """Run it once. Raises BenchmarkFailed."""
        task = {
            "query": self.sql.format(table=table.name, key=table.key),
            "settings": dict(self.settings),
            "groups": self.groups,
        }
        done = measured(
            [
                sys.executable, "-m", "benchmarks.query", open_target(table.reached),
                json.dumps(task),
            ],
            dsn=table.dsn,
            scratch=scratch,
            limits=limits,
        )  # fmt: skip
        told = json.loads(done.output)
        found = Found(**told["found"]) if told["found"] else None
        return noted(self.name, table, done, seconds=told["seconds"], found=found)

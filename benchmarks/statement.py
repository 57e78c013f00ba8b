"""A contestant that is one SQL statement, in a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .contest import Outcome
from .measure import measured, open_target
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

    def run(self, table: Table, scratch: Path) -> Outcome:
        """Run it once. Raises BenchmarkFailed."""
        task = {
            "query": self.sql.format(table=table.name, key=table.key),
            "settings": dict(self.settings),
            "groups": self.groups,
        }
        done = measured(
            [sys.executable, "-m", "benchmarks.query", open_target(table.dsn), json.dumps(task)],
            dsn=table.dsn,
            scratch=scratch,
        )
        told = json.loads(done.output)
        return Outcome(
            contestant=self.name,
            rows=table.rows,
            seconds=told["seconds"],
            sweep_seconds=0.0,
            process_seconds=done.seconds,
            rss_bytes=done.rss_bytes,
            temp_bytes=done.temp_bytes,
            temp_files=done.temp_files,
            found=Found(**told["found"]) if told["found"] else None,
        )

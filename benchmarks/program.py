"""A contestant that is a program of its own: a script that is told its task as JSON."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dedupe.lab import binaries

from .contest import Outcome, noted
from .failure import BenchmarkFailed
from .measure import measured, open_target
from .processes import NO_LIMITS, Limits
from .table import Table
from .truth import Found


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A script that finds the groups of a table's key; ``task`` says how it is called.

    It is run by its path and not as a part of a package, so that nothing of the
    benchmark but what it imports itself counts as its memory.
    """

    name: str
    script: Path
    #: settings of its session
    settings: Mapping[str, str] = field(default_factory=dict)
    #: modules that it imports and that are not everywhere
    needs: tuple[str, ...] = ()
    #: programs of PostgreSQL that it starts
    tools: tuple[str, ...] = ()
    #: whether it stops at the first group
    partial: bool = False

    def run(self, table: Table, scratch: Path, limits: Limits = NO_LIMITS) -> Outcome:
        """Run it once. Raises BenchmarkFailed."""
        for module in self.needs:
            if importlib.util.find_spec(module) is None:
                raise BenchmarkFailed(f"no {module}: pip install 'pgmend[bench]'")
        task = {
            "dsn": open_target(table.reached),
            "table": table.name,
            "key": table.key,
            "settings": dict(self.settings),
            "tools": {name: tool(name) for name in self.tools},
        }
        done = measured(
            [sys.executable, "-P", str(self.script), json.dumps(task)],
            dsn=table.dsn,
            scratch=scratch,
            limits=limits,
        )
        told = json.loads(done.output)
        return noted(
            self.name,
            table,
            done,
            seconds=told["seconds"],
            found=Found(**told["found"]),
            partial=self.partial,
        )


def tool(name: str) -> str:
    """Return the path of a program of PostgreSQL's: beside our server, or on PATH.

    Raises BenchmarkFailed where there is none.
    """
    if not os.environ.get("PGMEND_LAB_DSN"):
        beside = binaries.find() / name
        if os.access(beside, os.X_OK):
            return str(beside)
    found = shutil.which(name)
    if found is None:
        raise BenchmarkFailed(f"no {name}")
    return found

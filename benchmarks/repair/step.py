"""The process that does one step of pgmend's work: ``python -m benchmarks.repair.step``.

Arguments: the step, a connection string and the run directory. Prints a JSON object:
the step's seconds, without the start of the process, and what it says of its result.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from dedupe import MatchKey, Plan, Run, SoftReference, connect, plan, repair, scan, undo

from .tables import INDEX

#: what the catalog does not know of
_REPORTS = SoftReference(
    table="reports",
    column="target_id",
    parent="statuses",
    parent_column="id",
    type_column="target_type",
    type_value="Status",
)


def main() -> None:
    """Do the step and tell."""
    name, dsn, place = sys.argv[1:]
    started = time.monotonic()
    facts = STEPS[name](dsn, place)
    print(json.dumps({"seconds": time.monotonic() - started, **facts}))


def _scan(dsn: str, place: str) -> Mapping[str, Any]:
    run = scan(connect(dsn), MatchKey.from_index(INDEX), place)
    return {"groups": sum(key.groups for key in run.keys)}


def _plan(dsn: str, place: str) -> Mapping[str, Any]:
    made = plan(Run.open(place), keep="oldest", db=dsn, soft=[_REPORTS])
    return {"groups": made.groups, "losers": made.losers}


def _repair(dsn: str, place: str) -> Mapping[str, Any]:
    result = repair(Plan.open(place), db=dsn, execute=True, reason="benchmark")
    return {
        "status": result.status,
        "left": result.left,
        "rounds": result.rounds,
        "deleted": dict(result.deleted),
        "changed": dict(result.changed),
    }


def _undo(dsn: str, place: str) -> Mapping[str, Any]:
    result = undo(Run.open(place), db=dsn, execute=True)
    return {
        "status": result.status,
        "refused": len(result.refused),
        "restored": dict(result.restored),
        "put_back": dict(result.put_back),
    }


STEPS: Mapping[str, Callable[[str, str], Mapping[str, Any]]] = {
    "scan": _scan,
    "plan": _plan,
    "repair": _repair,
    "undo": _undo,
}


if __name__ == "__main__":
    main()

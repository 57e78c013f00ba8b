"""What a scan of several tables knows about the tables beside the one that is planned for."""

from __future__ import annotations

from collections.abc import Iterator

from dedupe import Plan
from dedupe.errors import DedupeError

from .many import LIST
from .runs import open_scans


def repair_first(plan: Plan) -> Iterator[str]:
    """Yield, for each table whose rows the plan re-points, the keys to repair before it.

    Those that had duplicates when the plan's scan looked at all tables: where one row of two
    twins is changed, their own unique index refuses it. Nothing for the scan of one table.
    """
    beside = plan.run.path.parent
    moved = {each.child for each in plan.references if each.handling == "re-point"}
    if not moved or not (beside / LIST).is_file():
        return
    try:
        runs = open_scans(beside).runs
    except DedupeError:
        # A damaged list says nothing; whoever names it is told.
        return
    for run in runs:
        keys = [key for key in run.keys if key.groups]
        if run.path.name == plan.run.path.name or not keys:
            continue
        label = f"{keys[0].schema}.{keys[0].table}"
        if label in moved:
            names = ", ".join(key.name for key in keys)
            yield (
                f"{label} had duplicates under {names} when it was scanned; if they are still"
                f" there, repair them first, or groups may be left: {run.path}"
            )

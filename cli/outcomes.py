"""What a repair came to, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dedupe import Plan, Result

from .output import aligned, counted, heard, one_line
from .plans import print_plan
from .repairing import NOTHING_WRITTEN, Meant


def repair_facts(result: Result, meant: Meant) -> dict[str, Any]:
    """Return the JSON object of ``repair --json``."""
    return {
        **meant.facts(),
        "status": result.status,
        "groups": result.groups,
        "repaired": result.repaired,
        "left": result.left,
        "losers": result.losers,
        "skipped": [{"group": group, "reason": reason} for group, reason in result.skipped],
        "deleted": dict(result.deleted),
        "changed": dict(result.changed),
        "rounds": result.rounds,
        "seconds": round(result.seconds, 3),
        "already_done": result.already_done,
        "index_rebuilt": list(result.index_rebuilt),
        "advice": list(result.advice),
        "target": result.target,
        "server_version": result.server_version,
        "standby": result.standby,
        "undo": None if result.status == "shown" else _way_back(meant),
    }


@heard
def print_repair(result: Result, plan: Plan, meant: Meant) -> None:
    """Print what a repair did, or would do, and the way back."""
    if result.status == "shown":
        print_plan(plan, 0)
        print(NOTHING_WRITTEN)
        return
    print_tables(("table", "rows deleted", "rows changed"), result.deleted, result.changed)
    for group, reason in result.skipped:
        print(f"left: group {group:,}: {one_line(reason)}")
    done = f"{result.repaired:,} of {counted(result.groups, 'group')} repaired"
    if result.already_done:
        print(f"The repair of run {result.run_id} was finished before ({done}); nothing changed.")
    else:
        rounds = counted(result.rounds, "round")
        left = f"; {counted(result.left, 'group')} left" if result.left else ""
        print(f"{done} in {rounds} and {result.seconds:.1f} s{left}.")
        if result.index_rebuilt:
            print(f"Rebuilt: {one_line(', '.join(result.index_rebuilt))}.")
        if result.left and plan.left_out:
            print("The index is not rebuilt before the others are repaired: scan again for them.")
        elif result.left:
            print("Once nothing is in their way, give the command again.")
        for line in result.advice:
            print(one_line(line))
        print(f"Look once more: {meant.command('verify')}")
    print(f"The way back: {_way_back(meant)}")


def _way_back(meant: Meant) -> str:
    return meant.command("undo", "--execute")


def print_tables(
    header: tuple[str, str, str], first: Mapping[str, int], second: Mapping[str, int]
) -> None:
    """Print two numbers a table; nothing where there is no table."""
    tables: Iterable[str] = dict.fromkeys([*first, *second])
    rows = [(table, first.get(table, 0), second.get(table, 0)) for table in tables]
    if rows:
        for line in aligned(header, rows):
            print(line)

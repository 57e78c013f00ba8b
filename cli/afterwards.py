"""What a verification and an undo came to, for people and as JSON."""

from __future__ import annotations

from typing import Any

from dedupe import UndoResult, Verification

from .outcomes import print_tables
from .output import counted, heard, one_line
from .repairing import NOTHING_WRITTEN, Meant


def verify_facts(found: Verification, meant: Meant) -> dict[str, Any]:
    """Return the JSON object of ``verify --json``."""
    return {
        **meant.facts(),
        "status": "clean" if found.clean else "findings",
        **verification_facts(found),
    }


def verification_facts(found: Verification) -> dict[str, Any]:
    """Return what a verification looked at and found, whatever it was about."""
    return {
        "groups": found.groups,
        "checks": list(found.checks),
        "findings": list(found.findings),
    }


@heard
def print_verification(found: Verification, meant: Meant) -> None:
    """Print what was looked at, and what is wrong."""
    for check in found.checks:
        print(f"checked: {one_line(check)}")
    for finding in found.findings:
        print(f"wrong: {one_line(finding)}")
    word = "all is well" if found.clean else counted(len(found.findings), "finding")
    print(f"Run {meant.id}, {counted(found.groups, 'group')}: {word}.")


def undo_facts(result: UndoResult, meant: Meant) -> dict[str, Any]:
    """Return the JSON object of ``undo --json``."""
    return {**meant.facts(), **put_back_facts(result), "seconds": round(result.seconds, 3)}


def put_back_facts(result: UndoResult) -> dict[str, Any]:
    """Return what an undo put back, or would, whatever it was of."""
    return {
        "status": result.status,
        "restored": dict(result.restored),
        "put_back": dict(result.put_back),
        "refused": list(result.refused),
        "already_done": result.already_done,
        "statements": list(result.statements),
    }


@heard
def print_undo(result: UndoResult) -> None:
    """Print what an undo brought back, or would, and what it refused."""
    shown = result.status == "shown" and not result.already_done
    print_tables(
        ("table", "rows to bring back", "rows to change back")
        if shown
        else ("table", "rows brought back", "rows changed back"),
        result.restored,
        result.put_back,
    )
    for text in result.refused:
        print(f"refused: {one_line(text)}")
    if result.statements:
        print("SQL that makes the key unique again, once the duplicates are gone:")
    for statement in result.statements:
        print(f"  {one_line(statement)};".replace(";;", ";"))
    if shown:
        print(NOTHING_WRITTEN)
    elif result.already_done:
        print(f"Run {result.run_id} was undone before; nothing changed.")
    else:
        rows = sum(result.restored.values()) + sum(result.put_back.values())
        refused = f"; {counted(len(result.refused), 'row')} refused" if result.refused else ""
        print(f"{counted(rows, 'row')} put back in {result.seconds:.1f} s{refused}.")

"""How a check of compose files looks: the places, the change, and what was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from migrations_check import Composed, Report

from .checks import print_report, report_facts
from .output import aligned, heard, one_line, print_json


@heard
def print_composed(
    found: Composed, report: Report, *, written: Sequence[Path], refused: bool, as_json: bool
) -> None:
    """Print what the files name, what is changed, and the findings."""
    if as_json:
        print_json(_facts(found, report, written))
        return
    for line in aligned(("place", "what", "of", "value"), list(_rows(found))):
        print(line)
    print(f"the places agree: {'yes' if found.agree else 'no'}")
    if found.change:
        print(f"{found.change.old} -> {found.change.new}")
        for line in found.change.diff(found.project).splitlines():
            print(one_line(line))
        for mention in found.change.mentions:
            print(f"not changed: {one_line(f'{mention.at} {mention.kind} {mention.text}')}")
    for path in written:
        print(f"written: {one_line(str(path))}")
    if refused:
        print("nothing was written: the change makes a blocker")
    print_report(report, as_json=False)


def _rows(found: Composed) -> list[tuple[str, str, str, str]]:
    return [
        # Values of variables may be secrets; those without a version are none of ours.
        (place.at, place.kind, place.owner, str(place.image or place.version))
        for place in found.project.places
        if place.image or place.version
    ]


def _facts(found: Composed, report: Report, written: Sequence[Path]) -> dict[str, Any]:
    planned = found.change
    return {
        **report_facts(report),
        "places": [dict(zip(("at", "kind", "owner", "value"), row, strict=True))
                   for row in _rows(found)],
        "agree": found.agree,
        "old": planned.old if planned else None,
        "new": planned.new if planned else None,
        "diff": planned.diff(found.project) if planned else None,
        "mentions": [asdict(one) for one in planned.mentions] if planned else [],
        "written": [str(path) for path in written],
    }

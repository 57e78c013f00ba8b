"""What the checks share: what is ignored, how a report looks, and the exit code."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import click

from dedupe.errors import UsageError
from migrations_check import (
    COMPOSE_RULES,
    DATABASE_RULES,
    SERVER_RULES,
    Ignored,
    Report,
)

from .config import DEFAULT_FILE, Config, check_kind, unknown
from .exits import ExitCode
from .output import FORMAT_VERSION, counted, heard, one_line, print_json, styled

F = TypeVar("F", bound=Callable[..., Any])

#: every rule of every check: one settings file serves them all
KNOWN_RULES: tuple[str, ...] = (*SERVER_RULES, *COMPOSE_RULES, *DATABASE_RULES)


def ignore_option(command: F) -> F:
    """Add --ignore to a check."""
    return click.option(
        "--ignore", multiple=True, metavar="RULE[:OBJECT]",
        help="Say nothing of a rule, or of one object; reasons belong into the settings file.",
    )(command)


def ignored(
    config: Config, given: Sequence[str], rules: Sequence[str] = KNOWN_RULES
) -> tuple[Ignored, ...]:
    """Join what the settings file and the command line ignore. Raises UsageError."""
    found = []
    path = config.path or Path(DEFAULT_FILE)
    for number, entry in enumerate(config.get("check", "ignore", default=()), 1):
        name = f"check.ignore, entry {number}"
        check_kind(path, name, entry, (dict,))
        for key, value in entry.items():
            if key not in {"rule", "object", "reason"}:
                raise unknown(path, key, ["rule", "object", "reason"], "key")
            check_kind(path, f"{name}, {key}", value, (str,))
        for key in ("rule", "reason"):
            if not entry.get(key, "").strip():
                raise UsageError(
                    f"{path}: {name} has no {key}",
                    hint='Write { rule = "…", object = "…", reason = "why it may be ignored" }.',
                )
        found.append(Ignored(**entry))
    for text in given:
        rule, colon, what = text.partition(":")
        found.append(Ignored(rule=rule, object=what if colon else None))
    for one in found:
        if one.rule not in rules:
            close = difflib.get_close_matches(one.rule, rules, 1)
            raise UsageError(
                f"there is no rule {one.rule} to ignore",
                hint=f"Did you mean {close[0]}?" if close else "docs/rules lists them.",
            )
    return tuple(found)


@heard
def print_report(report: Report, *, as_json: bool) -> None:
    """Print all findings, blockers first in the text, and what could not be seen."""
    if as_json:
        print_json(report_facts(report))
        return
    for one in sorted(report.findings, key=lambda one: one.severity):
        colour = "red" if one.severity == "blocker" else "yellow"
        head = styled(f"{one.severity}:", sys.stdout, fg=colour, bold=True)
        print(f"{head} {one_line(one.object)} [{one.rule}]: {one_line(one.message)}")
        print(f"  remedy: {one_line(one.remedy)}")
    for doubt in report.unseen:
        print(f"unseen: {one_line(doubt.object)} [{doubt.rule}]: {one_line(doubt.reason)}")
    blockers = len(report.blockers)
    print(f"{counted(blockers, 'blocker')}, {counted(len(report.findings) - blockers, 'warning')},"
          f" {len(report.unseen)} unseen")


def report_facts(report: Report) -> dict[str, Any]:
    """Return the fields of a report, in the documented order."""
    return {
        "format_version": FORMAT_VERSION,
        "findings": [asdict(one) for one in report.findings],
        "unseen": [
            {"rule": one.rule, "object": one.object, "reason": one.reason}
            for one in report.unseen
        ],
    }


def outcome(report: Report) -> ExitCode:
    """Return the code of a report: the worst of its findings; what is unseen counts as bad."""
    if report.blockers:
        return ExitCode.REFUSED
    return ExitCode.FOUND if report.findings or report.doubts else ExitCode.OK

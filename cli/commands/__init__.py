"""One module a command: parse, one call of the library, render."""

from __future__ import annotations

import click

from . import demo, groups, journal, plan, recipe_run, repair, scan, status, undo, verify

#: Every command, in the order of the help.
ALL: tuple[click.Command, ...] = (
    scan.scan_command,
    groups.groups_command,
    status.status_command,
    plan.plan_command,
    repair.repair_command,
    verify.verify_command,
    undo.undo_command,
    journal.journal_command,
    recipe_run.GROUP,
    demo.demo_command,
)

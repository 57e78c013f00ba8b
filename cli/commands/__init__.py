"""One module a command: parse, one call of the library, render."""

from __future__ import annotations

import click

from . import (
    check,
    check_app,
    check_compose,
    demo,
    groups,
    guard,
    guard_gate,
    guard_run,
    journal,
    plan,
    recipe,
    recipe_after,
    recipe_run,
    repair,
    scan,
    status,
    undo,
    verify,
)

#: Modules that add their commands to those of ``recipe``.
OF_RECIPES = recipe_run, recipe_after
#: Modules that add their commands to those of ``guard``.
OF_GUARDS = guard_gate, guard_run
#: Modules that add their commands to those of ``check``.
OF_CHECKS = check_compose, check_app
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
    recipe.recipe_command,
    guard.guard_command,
    check.check_command,
    demo.demo_command,
)

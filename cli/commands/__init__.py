"""One module a command: parse, one call of the library, render."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

#: Every command in the order of the help, and its modules: the first has it, as
#: ``NAME_command``, and further ones add their commands to it.
MODULES: Mapping[str, tuple[str, ...]] = {
    "scan": ("scan",),
    "groups": ("groups",),
    "status": ("status",),
    "plan": ("plan",),
    "repair": ("repair",),
    "verify": ("verify",),
    "undo": ("undo",),
    "journal": ("journal",),
    "recipe": ("recipe", "recipe_run", "recipe_after"),
    "guard": ("guard", "guard_gate", "guard_run"),
    "check": ("check", "check_compose", "check_app"),
    "demo": ("demo",),
}


def load(name: str) -> click.Command:
    """Import a command and return it; what only others need is not waited for."""
    first, *_ = [import_module(f".{module}", __name__) for module in MODULES[name]]
    command: click.Command = getattr(first, f"{name}_command")
    return command

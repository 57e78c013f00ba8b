"""One module a command: parse, one call of the library, render."""

from __future__ import annotations

import click

from . import demo, groups, scan, status

#: Every command, in the order of the help.
ALL: tuple[click.Command, ...] = (
    scan.scan_command,
    groups.groups_command,
    status.status_command,
    demo.demo_command,
)

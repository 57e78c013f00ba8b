"""``pgmend groups``: every row of every duplicate group of a finished run."""

from __future__ import annotations

from pathlib import Path

import click

from .. import output
from ..config import settings_option
from ..exits import ExitCode
from ..runs import finished_scans


@click.command("groups", short_help="Print every row of every duplicate group.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "jsonl", "csv"]),
    default="table",
    show_default=True,
    help="jsonl: one JSON object a row.",
)
@settings_option
def groups_command(run: Path, form: str) -> int:
    """Stream every member of every duplicate group of RUN; needs no server."""
    scans = finished_scans(run)
    for refusal in scans.refused:
        output.note(output.one_line(f"not scanned: {refusal.what}: {refusal.message}"))
    output.print_groups((group for each in scans.runs for group in each.groups()), form)
    return ExitCode.OK

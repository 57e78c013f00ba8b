"""``pgmend groups``: every row of every duplicate group of a finished run."""

from __future__ import annotations

from pathlib import Path

import click

from dedupe import RunStatus
from dedupe.errors import UsageError

from .. import output
from ..exits import ExitCode
from ..runs import open_runs


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
def groups_command(run: Path, form: str) -> int:
    """Stream every member of every duplicate group of RUN; needs no server."""
    runs = open_runs(run)
    for each in runs:
        if each.status is not RunStatus.FINISHED:
            raise UsageError(
                f"the scan in {each.path} is not finished ({each.status},"
                f" {each.fraction:.0%}); its groups are not known yet",
                hint="Give its scan command again: it goes on where it stopped.",
            )
    output.print_groups((group for each in runs for group in each.groups()), form)
    return ExitCode.OK

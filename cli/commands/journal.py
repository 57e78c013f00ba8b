"""``pgmend journal``: the repairs that a database remembers, with or without their directory."""

from __future__ import annotations

from typing import Any

import click

from dedupe import journal_drop, journal_export, journal_runs

from .. import journals, output
from ..config import settings_option
from ..exits import ExitCode
from ..options import execute_option, journal_options, json_option, taken_from
from ..repairing import NOTHING_WRITTEN, Server, meant_by


@click.group(
    "journal", short_help="List, export or drop what repairs wrote down.", no_args_is_help=False
)
def journal_command() -> None:
    """Look at the journal in the database: one entry for every row that a repair changed."""


@journal_command.command("list", short_help="List the repairs that the database remembers.")
@json_option
@journal_options
@settings_option
@click.pass_context
def list_command(context: click.Context, /, *, as_json: bool, **given: Any) -> int:
    """List the repairs of the database, the oldest first; their ids are for undo and verify."""
    runs = journal_runs(taken_from(given, context.obj).open())
    if as_json:
        output.print_json(journals.list_facts(runs))
    else:
        journals.print_list(runs)
    return ExitCode.OK


@journal_command.command("export", short_help="Stream the entries of a repair.")
@click.argument("run")
@click.option("--json", is_flag=True, expose_value=False, help="As always: one object a line.")
@journal_options
@settings_option
@click.pass_context
def export_command(context: click.Context, /, *, run: str, **given: Any) -> int:
    """Stream the entries of RUN, a directory or an id: one JSON object a line."""
    meant = meant_by(run, taken_from(given, context.obj))
    for entry in journal_export(meant.database, meant.id):
        output.print_json(entry)
    return ExitCode.OK


@journal_command.command("drop", short_help="Forget a repair; it cannot be undone any more.")
@click.argument("run")
@execute_option
@click.option("--force", is_flag=True, help="Though the repair or its undo is unfinished.")
@json_option
@journal_options
@settings_option
@click.pass_context
def drop_command(
    context: click.Context, /, *, run: str, execute: bool, force: bool, as_json: bool, **given: Any
) -> int:
    """Remove RUN, a directory or an id, from the journal: nothing of it can be undone then."""
    meant = meant_by(run, taken_from(given, context.obj))
    known = journals.known(meant)
    Server.of(meant.database).announce(meant.id, f"{journals.entries_text(known)} to drop")
    if execute or known is None:
        # One that is not known is refused.
        journal_drop(meant.database, meant.id, force=force)
    if as_json:
        output.print_json({**meant.facts(), "status": "dropped" if execute else "shown"})
    elif execute:
        print(f"Dropped from the journal: run {meant.id}. It cannot be undone any more.")
    else:
        print(NOTHING_WRITTEN)
    return ExitCode.OK

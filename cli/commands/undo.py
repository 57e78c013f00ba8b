"""``pgmend undo``: put back every row and every value that a repair took or changed."""

from __future__ import annotations

from typing import Any

import click

from dedupe import undo

from .. import afterwards, journals
from ..config import settings_option
from ..options import execute_option, journal_options, json_option, progress_options, taken_from
from ..repairing import Server, ended, meant_by, watched


@click.command("undo", short_help="Show what an undo would put back; with --execute, do it.")
@click.argument("run")
@execute_option
@click.option(
    "--group", "groups", multiple=True, type=click.IntRange(1), metavar="N",
    help="Only this group; repeatable.",
)
@click.option(
    "--drop-constraint", "drop_constraints", multiple=True, metavar="NAME",
    help="A constraint that makes the duplicates impossible and may go; repeatable.",
)
@click.option(
    "--side-table", is_flag=True, help="Bring rows back into tables beside the repaired ones."
)
@json_option
@progress_options
@journal_options
@settings_option
@click.pass_context
def undo_command(
    context: click.Context,
    /,
    *,
    run: str,
    execute: bool,
    groups: tuple[int, ...],
    drop_constraints: tuple[str, ...],
    side_table: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Undo the repair of RUN, a directory or an id; exit code 1 if rows were refused.

    Without --execute nothing is written. Rows that others changed since are refused and
    listed. The same command goes on after a stop or a kill.
    """
    meant = meant_by(run, taken_from(given, context.obj))
    Server.of(meant.database).announce(meant.id, journals.undo_text(meant, groups))
    result = watched(
        f"run {meant.id}",
        lambda stop, show: undo(
            meant.known,
            db=meant.database,
            execute=execute,
            groups=groups,
            drop_constraints=drop_constraints,
            side_table=side_table,
            on_progress=show,
            stop=stop,
        ),
        quiet=quiet,
        verbose=verbose,
    )
    return ended(
        result,
        meant,
        as_json=as_json,
        facts=lambda r: afterwards.undo_facts(r, meant),
        show=afterwards.print_undo,
        found=lambda r: bool(r.refused),
    )

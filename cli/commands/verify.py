"""``pgmend verify``: a second, independent look at what was repaired."""

from __future__ import annotations

from typing import Any

import click

from dedupe import verify

from .. import afterwards
from ..config import settings_option
from ..options import journal_options, json_option, progress_options, taken_from
from ..repairing import ended, meant_by, watched


@click.command("verify", short_help="Prove a repair by a second, independent read.")
@click.argument("run")
@json_option
@progress_options
@journal_options
@settings_option
@click.pass_context
def verify_command(
    context: click.Context,
    /,
    *,
    run: str,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Check the repair of RUN, a directory or an id; exit code 1 if anything is wrong."""
    meant = meant_by(run, taken_from(given, context.obj))
    found = watched(
        f"run {meant.id}",
        lambda stop, show: verify(
            meant.known, db=meant.database, on_progress=show, stop=stop
        ),
        quiet=quiet,
        verbose=verbose,
    )
    return ended(
        found,
        meant,
        as_json=as_json,
        facts=lambda v: afterwards.verify_facts(v, meant),
        show=lambda v: afterwards.print_verification(v, meant),
        found=lambda v: not v.clean,
    )

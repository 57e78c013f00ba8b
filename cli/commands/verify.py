"""``pgmend verify``: a second, independent look at what was repaired."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import click

from dedupe import verify

from .. import afterwards, output
from ..config import settings_option
from ..exits import ExitCode
from ..options import connection_options, json_option, taken_from
from ..repairing import meant_by


@click.command("verify", short_help="Prove a repair by a second, independent read.")
@click.argument("run")
@json_option
@connection_options
@settings_option
@click.pass_context
def verify_command(context: click.Context, /, *, run: str, as_json: bool, **given: Any) -> int:
    """Check the repair of RUN, a directory or an id; exit code 1 if anything is wrong."""
    meant = meant_by(run, taken_from(given, context.obj))
    found = verify(meant.known, db=meant.database)
    with suppress(BrokenPipeError):
        if as_json:
            output.print_json(afterwards.verify_facts(found, meant))
        else:
            afterwards.print_verification(found, meant)
    return ExitCode.OK if found.clean else ExitCode.FOUND

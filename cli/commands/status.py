"""``pgmend status``: where a run is, without a server."""

from __future__ import annotations

from pathlib import Path

import click

from .. import output, results
from ..config import settings_option
from ..exits import ExitCode
from ..options import json_option
from ..runs import open_scans


@click.command("status", short_help="Tell how far a run is and what it found.")
@click.argument("run", type=click.Path(path_type=Path))
@json_option
@settings_option
def status_command(run: Path, as_json: bool) -> int:
    """Tell how far RUN is, which database it belongs to and what it found; needs no server."""
    scans = open_scans(run)
    if as_json:
        output.print_json(results.status_facts(scans))
    else:
        results.print_status(scans)
    return ExitCode.OK

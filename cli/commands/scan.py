"""``pgmend scan``: find every duplicate of a key, resumably."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from dedupe.errors import UsageError

from .. import output, results
from ..config import settings_option
from ..exits import ExitCode
from ..keys import Asked, key_options
from ..options import connection_options, json_option, progress_options, taken_from
from ..runs import BASE, finished_scans
from ..scanning import Scanner, remembered_target
from ..stopping import Stopping


@click.command("scan", short_help="Find every duplicate of a key.")
@key_options
@click.option("--order", type=click.Choice(["auto", "physical", "key"]), help="How to read.")
@click.option("--memory", metavar="SIZE", help="For the buffers of all workers [64MB].")
@click.option("-j", "--jobs", type=int, help="Backends that read at a time [2].")
@click.option("--nice", type=float, help="Sleep this share of each chunk's time [0].")
@click.option("--run", type=click.Path(path_type=Path), help="Run directory, new or known.")
@click.option("--fresh", is_flag=True, help="Begin anew instead of going on.")
@json_option
@progress_options
@connection_options
@settings_option
@click.pass_context
def scan_command(
    context: click.Context,
    /,
    *,
    run: Path | None,
    fresh: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Find every duplicate of a key of TABLE; exit code 1 if there are any.

    The same command goes on with an unfinished scan of the same key.
    """
    config = context.obj
    where = taken_from(given, config)
    tuning = {n: given.pop(n) for n in ("order", "memory", "jobs", "nice")}
    asked = Asked.of(**given, configured_schemas=config.get("scan", "schema", default=()))
    if not asked.anything:
        return _print_again(run if not fresh else None, as_json=as_json)
    with Stopping() as stopping:
        try:
            with where.open(remembered_target(run)).reusing() as database:
                scanner = Scanner(
                    database=database,
                    stopping=stopping,
                    base=Path(config.get("scan", "runs", default=BASE)),
                    place=run,
                    fresh=fresh,
                    quiet=quiet,
                    verbose=verbose,
                    options={
                        name: value
                        for name, said in tuning.items()
                        if (value := config.get("scan", name, said)) is not None
                    },
                    arguments=sys.argv[1:],
                )
                scans = scanner.scan(asked)
        except KeyboardInterrupt:
            output.note("pgmend: stopped before there was anything to go on with; run it again")
            return ExitCode.STOPPED
    if scans.finished:
        results.print_scan(scans, as_json=as_json)
    else:
        go_on = scanner.how_to_go_on(scans.path)
        results.print_stopped(scans, go_on, let_go=stopping.let_go, as_json=as_json)
    return results.outcome(scans)


def _print_again(run: Path | None, *, as_json: bool) -> int:
    """Print what the finished scan in ``run`` found."""
    if run is None or not run.exists():
        raise UsageError(
            "say what to scan" if run is None else f"there is no scan in {run}",
            hint="pgmend scan TABLE --index NAME | --key COLUMN | --all-unique.",
        )
    scans = finished_scans(run)
    for refusal in scans.refused:
        refusal.tell()
    results.print_scan(scans, as_json=as_json)
    return results.outcome(scans)

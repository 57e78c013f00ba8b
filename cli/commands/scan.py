"""``pgmend scan``: find every duplicate of a key, resumably."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from dedupe.errors import UsageError

from .. import output, results
from ..exits import ExitCode
from ..keys import Asked, key_options
from ..options import connecting, connection_options
from ..runs import BASE
from ..scanning import Scanner, finished_run, how_to_go_on, remembered_target
from ..stopping import Stopping


@click.command("scan", short_help="Find every duplicate of a key.")
@key_options
@click.option("--order", type=click.Choice(["auto", "physical", "key"]), help="How to read.")
@click.option("--memory", metavar="SIZE", help="For the buffers of all workers [64MB].")
@click.option("-j", "--jobs", type=int, help="Backends that read at a time [2].")
@click.option("--nice", type=float, help="Sleep this share of each chunk's time [0].")
@click.option("--run", type=click.Path(path_type=Path), help="Run directory, new or known.")
@click.option("--fresh", is_flag=True, help="Begin anew instead of going on.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@click.option("-v", "--verbose", is_flag=True, help="Progress every second.")
@connection_options
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
    connection = {n: given.pop(n) for n in ("dbname", "host", "port", "user", "no_password")}
    tuning = {n: given.pop(n) for n in ("order", "memory", "jobs", "nice")}
    where = connecting(config, **connection)
    asked = Asked.of(**given, configured_schemas=config.get("scan", "schema", default=()))
    if not fresh and (known := finished_run(run, asked)) is not None and run is not None:
        results.print_scan(known, run, as_json=as_json)
        return results.outcome(known, ())
    if not asked.anything:
        raise UsageError(
            "say what to scan" if run is None else f"there is no finished scan in {run}",
            hint="pgmend scan TABLE --index NAME | --key COLUMN | --all-unique.",
        )
    with Stopping() as stopping:
        scanner = Scanner(
            database=where.open(remembered_target(run)),
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
        )
        scanned = scanner.scan(asked)
    if scanned.stopped:
        output.note(f"pgmend: stopped at {scanned.fraction:.0%}; nothing that was read is lost")
        output.note(f"HINT: Go on with: {how_to_go_on(scanned.path, sys.argv[1:])}")
        if as_json:
            output.print_json(results.scan_facts(scanned.runs, scanned.path, scanned.refused))
        return ExitCode.STOPPED
    results.print_scan(scanned.runs, scanned.path, as_json=as_json, refused=scanned.refused)
    return results.outcome(scanned.runs, scanned.refused)

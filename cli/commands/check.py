"""``pgmend check``: what will break in an upgrade, said before the maintenance window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from migrations_check import NEWEST_MAJOR, check_server

from ..checks import ignore_option, ignored, outcome, print_report
from ..config import settings_option
from ..exits import ExitCode
from ..options import connection_options, json_option, taken_from
from ..output import note
from ..serverchecks import asked_of


@click.group("check", short_help="Say what will break in an upgrade.")
def check_command() -> None:
    """Say what will break in an upgrade; nothing is written.

    Exit codes: 0 nothing, 1 warnings or something unseen, 4 blockers.
    """


@check_command.command("server", short_help="Will the server's upgrade work?")
@click.option("--to", type=int, default=NEWEST_MAJOR, show_default=True, metavar="MAJOR",
              help="The major version that it is to be upgraded to.")
@click.option("--only-database", "only", multiple=True, metavar="NAME",
              help="Look at this database alone; repeatable.")
@click.option("--quick", is_flag=True, help="Read catalogs only: no key is checked.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Backends that read at a time [2].")
@click.option("--run", type=click.Path(path_type=Path), help="Directory of the keys' scans.")
@click.option("--expected", metavar="FILE|DSN",
              help="A schema with the unique constraints that ought to be there.")
@click.option("-B", "--new-bindir", metavar="DIR", help="Programs of the target: pg_upgrade, too.")
@click.option("-b", "--old-bindir", metavar="DIR", help="Programs of the server's own version.")
@click.option("--receipts", metavar="DIR", help="Where receipts of snapshots are kept.")
@ignore_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@json_option
@connection_options
@settings_option
@click.pass_context
def server_command(
    context: click.Context, /, *, ignore: tuple[str, ...], as_json: bool, **given: Any
) -> int:
    """Look at all databases of a server that the role may enter, catalogs and rows.

    An unfinished scan of keys goes on; all else is looked at anew.
    """
    where = taken_from(given, context.obj)
    left_out = ignored(context.obj, ignore)
    asked = asked_of(context.obj, where, given)
    try:
        checked = where.tried(lambda dsn: check_server(dsn, asked))
    except KeyboardInterrupt:
        note(f"pgmend: stopped; the same command with --run {asked.run} goes on with the keys")
        return ExitCode.STOPPED
    report = checked.report.without(left_out)
    print_report(report, as_json=as_json)
    return outcome(report)

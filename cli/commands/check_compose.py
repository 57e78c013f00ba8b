"""``pgmend check compose``: which version the files of a deployment name, and changing it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from dedupe.errors import UsageError
from migrations_check import check_compose, revert_compose, write_compose

from ..checks import ignore_option, ignored, outcome
from ..composing import print_composed
from ..config import settings_option
from ..exits import ExitCode
from ..options import connection_options, json_option, taken_from
from ..output import FORMAT_VERSION, one_line, print_json
from .check import check_command


@check_command.command("compose", short_help="Do all files name one version? Change it.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--from", "old", metavar="OLD", help="Version to replace [what the images share].")
@click.option("--to", "new", metavar="NEW", help="Version to put in its place; shown as a diff.")
@click.option("--write", is_flag=True, help="Write it, to all files or to none.")
@click.option("--revert", is_flag=True, help="Put the files back as before the last --write.")
@ignore_option
@json_option
@connection_options
@settings_option
@click.pass_context
def compose_command(
    context: click.Context, /, *, files: tuple[Path, ...], old: str | None, new: str | None,
    write: bool, revert: bool, ignore: tuple[str, ...], as_json: bool, **given: Any,
) -> int:
    """Look at compose files and Dockerfiles: every place that names a version, and the change.

    With -d, database images are compared with the running server, too. Exit codes: 0 nothing, or
    written; 1 warnings, 4 blockers; with --write only those that the change makes.
    """
    if (revert and (old or new or write)) or ((write or old) and not new):
        raise UsageError(
            "--revert stands alone" if revert else "--write and --from need --to",
            hint="pgmend check compose FILES --to NEW --write, or FILES --revert.",
        )
    if revert:
        return _reverted(files, as_json=as_json)
    asked = any(given[name] for name in ("dbname", "host", "port", "user"))
    where = taken_from(given, context.obj)
    left_out = ignored(context.obj, ignore)

    def looked(dsn: str | None) -> Any:
        return check_compose(files, os.environ, old=old, new=new, dsn=dsn)

    found = where.tried(looked) if asked else looked(None)
    report, made = found.report.without(left_out), found.made.without(left_out)
    written = write_compose(found) if write and not made.blockers else ()
    print_composed(found, report, written=written, refused=bool(write and made.blockers),
                   as_json=as_json)
    if not write:
        return outcome(report)
    return ExitCode.REFUSED if made.blockers else ExitCode.OK


def _reverted(files: tuple[Path, ...], *, as_json: bool) -> int:
    paths = [str(path) for path in revert_compose(files)]
    if as_json:
        print_json({"format_version": FORMAT_VERSION, "reverted": paths})
    else:
        for path in paths:
            print(f"reverted: {one_line(path)}")
    return ExitCode.OK

"""``pgmend check app``: whether an application's database is ready for a release."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from migrations_check import Migrated, check_alembic, check_mastodon, check_rails

from ..appchecks import app_asked, print_migrated
from ..checks import ignore_option, ignored, outcome
from ..config import settings_option
from ..exits import ExitCode
from ..options import connection_options, json_option, taken_from
from ..output import note
from .check import check_command

F = TypeVar("F", bound=Callable[..., Any])
_DIRECTORY = click.Path(path_type=Path, exists=True, file_okay=False)


def _common(command: F) -> F:
    """Add what all checks of an application's database take."""
    schema = click.option("--schema", metavar="NAME", help="Schema of the application's tables.")
    for option in (settings_option, connection_options, json_option, ignore_option, schema):
        command = option(command)
    return command


def _files(command: F) -> F:
    """Add the directories of the migrations."""
    for option in (
        click.option("--installed", multiple=True, type=_DIRECTORY, metavar="DIR",
                     help="Migrations of the release that is installed; repeatable."),
        click.option("--migrations", multiple=True, required=True, type=_DIRECTORY, metavar="DIR",
                     help="Migrations of the release that is to be run; repeatable."),
    ):
        command = option(command)
    return command


@check_command.group("app", short_help="Is the application's database ready for a release?")
def app_group() -> None:
    """Look at an application's database before the application is upgraded.

    Exit codes: 0 nothing, 1 warnings or something unseen, 4 blockers.
    """


@app_group.command("mastodon", short_help="Mastodon, 3.0 and later.")
@click.option("--to", required=True, metavar="VERSION", help="The release that is to be run.")
@click.option("--quick", is_flag=True, help="Read no rows but those of schema_migrations.")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Backends that read at a time [2].")
@click.option("--run", type=click.Path(path_type=Path), help="Directory of the keys' scans.")
@click.option("--env", type=click.Path(path_type=Path), metavar="FILE",
              help="The instance's variables: .env.production.")
@click.option("--redis", metavar="URL", envvar="PGMEND_REDIS_URL",
              help="The instance's Redis, to ask for its version; else $PGMEND_REDIS_URL.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@_common
@click.pass_context
def mastodon_command(
    context: click.Context, /, *, to: str, ignore: tuple[str, ...], as_json: bool, **given: Any
) -> int:
    """Which release is installed, what did not run, and what the upgrade will break at."""
    where = taken_from(given, context.obj)
    left_out, asked = ignored(context.obj, ignore), app_asked(context.obj, where, to, given)
    try:
        found = where.tried(lambda dsn: check_mastodon(dsn, to, asked))
    except KeyboardInterrupt:
        note(f"pgmend: stopped; the same command with --run {asked.run} goes on with the keys")
        return ExitCode.STOPPED
    report = found.report.without(left_out)
    print_migrated(found, report, as_json=as_json)
    return outcome(report)


def _of_files(name: str, short: str, check: Callable[..., Migrated]) -> None:
    @app_group.command(name, short_help=short)
    @_files
    @_common
    @click.pass_context
    def command(
        context: click.Context, /, *, migrations: tuple[Path, ...], installed: tuple[Path, ...],
        schema: str | None, ignore: tuple[str, ...], as_json: bool, **given: Any,
    ) -> int:
        """Hold the files of migrations against the database: pending, missing, edited."""
        where = taken_from(given, context.obj)
        left_out = ignored(context.obj, ignore)
        found = where.tried(lambda dsn: check(dsn, migrations, installed, schema=schema))
        report = found.report.without(left_out)
        print_migrated(found, report, as_json=as_json)
        return outcome(report)


_of_files("rails", "Any application built on Rails.", check_rails)
_of_files("alembic", "Any application that uses Alembic.", check_alembic)

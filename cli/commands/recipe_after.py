"""``pgmend recipe verify`` and ``undo``: a whole recipe looked at again, or taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dedupe import recipe_journal, undo_recipe, verify_recipe

from .. import output, recipes
from ..config import settings_option
from ..exits import ExitCode
from ..options import execute_option, journal_options, json_option, progress_options, taken_from
from ..repairing import Server, watched
from .recipe import recipe_command

_PLACE = click.argument("place", type=click.Path(path_type=Path, exists=True, file_okay=False))


@recipe_command.command("verify", short_help="Look whether all that a recipe repaired holds.")
@_PLACE
@json_option
@progress_options
@journal_options
@settings_option
@click.pass_context
def verify_command(
    context: click.Context,
    /,
    *,
    place: Path,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Check each step that was carried out in PLACE; exit code 1 if anything is wrong."""
    database = taken_from(given, context.obj).open(journal_schema=recipe_journal(place))
    found = watched(
        str(place),
        lambda stop, show: verify_recipe(
            place, database, stop=stop, on_progress=lambda step, event: show(event, step)
        ),
        quiet=quiet,
        verbose=verbose,
    )
    if found is None:
        return recipes.stopped(place, as_json=as_json)
    if as_json:
        output.print_json(recipes.verification_facts(found, place))
    else:
        recipes.print_verifications(found, place)
    return ExitCode.OK if all(one.verification.clean for one in found) else ExitCode.FOUND


@recipe_command.command("undo", short_help="Take back all that a recipe did, or show it.")
@_PLACE
@execute_option
@click.option(
    "--drop-constraint", "drop_constraints", multiple=True, metavar="NAME",
    help="A constraint that makes the duplicates impossible and may go; repeatable.",
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
    place: Path,
    execute: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Take back each step that was carried out in PLACE; exit code 1 if rows were refused."""
    constraints = given.pop("drop_constraints")
    database = taken_from(given, context.obj).open(journal_schema=recipe_journal(place))
    Server.of(database).announce(str(place), "undo of a recipe")
    done = watched(
        str(place),
        lambda stop, show: undo_recipe(
            place, database, execute=execute, drop_constraints=constraints, stop=stop,
            on_progress=lambda step, event: show(event, step),
        ),
        quiet=quiet,
        verbose=verbose,
    )
    if done is None:
        return recipes.stopped(place, as_json=as_json)
    if as_json:
        output.print_json(recipes.undo_facts(done, place))
    else:
        recipes.print_undone(done, place)
    return ExitCode.FOUND if any(one.undo.refused for one in done) else ExitCode.OK

"""``pgmend recipe run``: carry a recipe out over all its tables, journaled, resumably."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dedupe import load_recipe, recipe_finished, recipe_journal, run_recipe

from .. import recipes
from ..choosing import Deciding, carried_out, person_there
from ..config import settings_option
from ..exits import ExitCode
from ..guarding import gate_options, snapshot_reason
from ..options import (
    execute_option,
    journal_options,
    json_option,
    progress_options,
    redis_options,
    taken_from,
)
from ..repairing import Server, watched
from .recipe import recipe_command


@recipe_command.command("run", short_help="Show what a recipe would do; with --execute, do it.")
@click.argument("recipe")
@click.option(
    "--run", "place", type=click.Path(path_type=Path), required=True,
    help="Directory for all of it, new or known.",
)
@execute_option
@gate_options
@click.option(
    "--decide", "answers", multiple=True, metavar="ID=ANSWER", help="Answer one of its questions."
)
@click.option("--decisions", type=click.Path(path_type=Path), help="Answers in a TOML file.")
@click.option("--defaults", is_flag=True, help="Decide what is open as the recipe says.")
@click.option("--live", is_flag=True, help="Others may stay connected.")
@redis_options
@click.option("-j", "--jobs", type=int, default=2, help="Backends that scan at a time [2].")
@click.option("--memory", default="64MB", metavar="SIZE", help="For a scan's buffers [64MB].")
@click.option("--nice", type=click.FloatRange(0), default=0.0, help="Sleep this share [0].")
@json_option
@progress_options
@journal_options
@settings_option
@click.pass_context
def run_command(
    context: click.Context,
    /,
    *,
    recipe: str,
    place: Path,
    execute: bool,
    answers: tuple[str, ...],
    decisions: Path | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> int:
    """Carry RECIPE out; exit code 1 if groups are left.

    Without --execute nothing is written. On a terminal you are asked what is open. The same
    command goes on after a stop or a kill.
    """
    where = taken_from(given, context.obj)
    read = load_recipe(recipe)
    deciding = Deciding(read, place, answers, decisions)
    database = where.open(journal_schema=recipe_journal(place))
    server = Server.of(database)
    server.announce(str(place), f"recipe {read.name}, {recipes.size_text(read)}")
    writes = execute and not recipe_finished(place, database)
    reason = snapshot_reason(context.obj, given, server, database, execute=writes)
    result = carried_out(
        lambda decided, doing: watched(
            read.name,
            lambda stop, show: run_recipe(
                read, place, database, decisions=decided, execute=doing, reason=reason, stop=stop,
                on_progress=lambda part, event: show(event, part), **given,
            ),
            quiet=quiet, verbose=verbose,
        ),
        deciding, database, execute=execute,
        ask=person_there() and not (as_json or given["defaults"]),
    )
    if result is None:
        return recipes.stopped(place, as_json=as_json)
    recipes.print_result(result, place, database, as_json=as_json)
    return ExitCode.FOUND if result.status == "left" else ExitCode.OK

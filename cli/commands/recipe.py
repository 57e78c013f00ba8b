"""``pgmend recipe``: what one application's duplicates mean, and how its tables are repaired."""

from __future__ import annotations

from typing import Any

import click

from dedupe import fit_recipe, load_recipe, recipe_names

from .. import output, recipes
from ..config import settings_option
from ..exits import ExitCode
from ..options import connection_options, json_option, taken_from


@click.group("recipe", short_help="Look at the recipes for whole applications.")
def recipe_command() -> None:
    """Look at recipes: the keys of one application, who stays, and what points at the others.

    A recipe is one of pgmend's own, by its name, or a file of yours that ends in .toml.
    """


@recipe_command.command("list", short_help="List the recipes that are part of pgmend.")
@json_option
@settings_option
def list_command(*, as_json: bool) -> int:
    """List pgmend's own recipes."""
    found = [load_recipe(name) for name in recipe_names()]
    if as_json:
        output.print_json(recipes.list_facts(found))
    else:
        recipes.print_list(found)
    return ExitCode.OK


@recipe_command.command("show", short_help="Print the steps and questions of a recipe.")
@click.argument("recipe")
@json_option
@settings_option
def show_command(*, recipe: str, as_json: bool) -> int:
    """Print the steps of RECIPE and what it asks; needs no server."""
    read = load_recipe(recipe)
    if as_json:
        output.print_json(recipes.facts(read))
    else:
        recipes.print_recipe(read)
    return ExitCode.OK


@recipe_command.command("check", short_help="Check a recipe, and whether it fits a database.")
@click.argument("recipe")
@json_option
@connection_options
@settings_option
@click.pass_context
def check_command(
    context: click.Context, /, *, recipe: str, as_json: bool, **given: Any
) -> int:
    """Check RECIPE, and with a database also what of it counts there; reads the catalogs only.

    Exit code 1 if a unique index that ought to be there is missing or invalid, 4 if the
    database is not one that the recipe is for.
    """
    where = taken_from(given, context.obj)
    read = load_recipe(recipe)
    if not where.named:
        output.note("no database was named: only the recipe itself was checked")
        if as_json:
            output.print_json(recipes.facts(read))
        else:
            print(f"{recipe}: {recipes.size_text(read)}")
        return ExitCode.OK
    fit = fit_recipe(where.open(), read)
    if as_json:
        output.print_json(recipes.fit_facts(fit))
    else:
        recipes.print_fit(fit)
    return ExitCode.FOUND if recipes.unsound(fit) else ExitCode.OK

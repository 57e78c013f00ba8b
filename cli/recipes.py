"""Recipes, and what they come to in a database, for people and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dedupe import HOW_TO_DECIDE, Fit, Recipe, RecipeResult, StepUndo, StepVerification
from dedupe.connect import Database

from . import afterwards
from .exits import ExitCode
from .losses import losses_facts, losses_lines
from .output import FORMAT_VERSION, aligned, counted, heard, one_line, print_fact, print_json
from .repairing import NOTHING_WRITTEN


def list_facts(recipes: Sequence[Recipe]) -> dict[str, Any]:
    """Return the JSON object of ``recipe list --json``."""
    return {
        "format_version": FORMAT_VERSION,
        "recipes": [
            {"name": recipe.name, "title": recipe.title, "steps": len(recipe.steps)}
            for recipe in recipes
        ],
    }


def print_list(recipes: Sequence[Recipe]) -> None:
    """Print the recipes as a table."""
    rows = [(recipe.name, len(recipe.steps), recipe.title) for recipe in recipes]
    for line in aligned(("recipe", "steps", "for"), rows):
        print(line)


def facts(recipe: Recipe) -> dict[str, Any]:
    """Return the JSON object of ``recipe show --json``: all that the recipe says."""
    return {"format_version": FORMAT_VERSION, "recipe": msgspec.to_builtins(recipe)}


def size_text(recipe: Recipe) -> str:
    """Say how much a recipe is: ``27 steps, 2 questions, …``."""
    asked = len(recipe.questions) + len(recipe.choices)
    return (
        f"{counted(len(recipe.steps), 'step')}, {counted(asked, 'question')},"
        f" {counted(len(recipe.indexes), 'index description')},"
        f" {counted(len(recipe.soft), 'soft reference')}"
    )


def print_recipe(recipe: Recipe) -> None:
    """Print the steps of a recipe, and what it asks."""
    print_fact("recipe", recipe.name)
    print_fact("for", recipe.title)
    for heading, lines in (
        ("Before it writes", _before(recipe)),
        ("Questions", _questions(recipe)),
        ("Steps", _steps(recipe)),
        ("Afterwards", _afterwards(recipe)),
    ):
        if told := list(lines):
            print(f"\n{heading}")
            for line in told:
                print(f"  {one_line(line)}")


def _before(recipe: Recipe) -> Iterator[str]:
    if recipe.before.alone:
        yield "nobody else may be connected to the database"
    if recipe.before.workers is not None:
        yield f"{recipe.before.workers} must be stopped"


def _questions(recipe: Recipe) -> Iterator[str]:
    for question in recipe.questions:
        yield f"{question.id}: {question.asks}"
        for answer, does in question.answers.items():
            usual = " (the default)" if answer == question.default else ""
            yield f"  {answer}{usual}: {does}"
    for choice in recipe.choices:
        yield f"{choice.id}: {choice.asks} By default: {', '.join(choice.default)}"


def _steps(recipe: Recipe) -> Iterator[str]:
    for step in recipe.steps:
        gate = "".join(
            f" {word} {version}"
            for word, version in (("since", step.since), ("before", step.before))
            if version is not None
        )
        yield f"{step.id}: {step.table}, {step.index}{gate}"
        for case in step.cases:
            keep = f"the answer to {case.choice}" if case.choice else ", ".join(case.keep)
            when = "".join(f", answer {one}={other}" for one, other in case.answered.items())
            same = f", where {case.same}" if case.same else ""
            yield f"  keep {keep}; the others: {case.loser}{when}{same}"


def _afterwards(recipe: Recipe) -> Iterator[str]:
    for after in recipe.afterwards:
        yield f"refresh {after.refresh}" if after.refresh else after.tell or ""


def unsound(fit: Fit) -> bool:
    """Whether a unique index that ought to be there is missing or not to be relied on."""
    return bool(fit.missing) or any(one.state != "sound" for one in fit.steps)


def fit_facts(fit: Fit) -> dict[str, Any]:
    """Return the JSON object of ``recipe check --json``."""
    return {
        "format_version": FORMAT_VERSION,
        "recipe": fit.recipe.name,
        "release": fit.release,
        "newest_version": max(fit.versions, default=None) if fit.versions is not None else None,
        "steps": [
            {
                "step": one.step.id,
                "table": one.step.table,
                "index": one.index.name if one.index else one.expected.name,
                "state": one.state,
            }
            for one in fit.steps
        ],
        "skipped": [{"step": step, "reason": why} for step, why in fit.skipped.items()],
        "absent": list(fit.absent),
        "unnamed": [{"table": one.table, "index": one.name} for one in fit.unnamed],
        "missing": [
            {"table": one.expected.table, "index": one.expected.name, "state": one.state}
            for one in fit.missing
        ],
        "notes": list(fit.notes),
    }


@heard
def print_fit(fit: Fit) -> None:
    """Print what a recipe comes to in a database."""
    print_fact("recipe", fit.recipe.name)
    if fit.release is not None:
        print_fact("release", fit.release)
    for note in fit.notes:
        print_fact("note", note)
    print()
    rows = [
        (one.step.id, one.step.table, one.index.name if one.index else one.expected.name, one.state)
        for one in fit.steps
    ]
    for line in aligned(("step", "table", "index", "state"), rows):
        print(line)
    print("\nThe state is what the catalog knows; whether an index lies, the scan of a run finds.")
    for heading, lines in (
        ("Not here", [f"step {step}: {why}" for step, why in fit.skipped.items()]),
        ("Left out, since the schema does not have it", fit.absent),
        (
            "Unique indexes that no step names, repaired by the rules for the others",
            [f"{one.table}: {one.name}" for one in fit.unnamed],
        ),
        (
            "Unique indexes that ought to be there and are not, made by the run",
            [f"{one.expected.table}: {one.expected.name} ({one.state})" for one in fit.missing],
        ),
    ):
        if lines:
            print(f"\n{heading}")
            for line in lines:
                print(f"  {one_line(line)}")


def stopped(place: Path, *, as_json: bool) -> ExitCode:
    """End a command about a recipe's directory that was stopped, which was told."""
    if as_json:
        print_json({"format_version": FORMAT_VERSION, "run": str(place), "status": "interrupted"})
    return ExitCode.STOPPED


def result_facts(result: RecipeResult, place: Path, database: Database) -> dict[str, Any]:
    """Return the JSON object of ``recipe run --json``."""
    return {
        "format_version": FORMAT_VERSION,
        "run": str(place),
        "recipe": result.fit.recipe.name,
        "status": result.status,
        "steps": [
            {
                "step": step.id,
                "table": step.table,
                "key_name": step.key_name,
                "run_id": step.run_id,
                "run": str(step.path),
                "status": step.status,
                "groups": step.groups,
                "losers": step.losers,
                "repaired": step.repaired,
                "left": step.left,
                "skipped": [{"group": group, "reason": why} for group, why in step.skipped],
            }
            for step in result.steps
        ],
        "unmet": list(result.unmet),
        "open": list(result.open),
        "losses": [losses_facts(one) for one in result.losses],
        "undecided": [{"id": one.id, "groups": one.groups} for one in result.undecided],
        "tell": list(result.tell),
        "notes": list(result.notes),
        "already_done": result.already_done,
        "undo": None if result.status == "shown" else _after("undo", place, database, "--execute"),
        "seconds": round(result.seconds, 3),
    }


@heard
def print_result(
    result: RecipeResult, place: Path, database: Database, *, as_json: bool
) -> None:
    """Print what a recipe did, or would do, step by step."""
    if as_json:
        print_json(result_facts(result, place, database))
        return
    rows = [
        (step.id, step.table, step.key_name, step.groups, step.losers, step.status)
        for step in result.steps
    ]
    for line in aligned(("step", "table", "key", "groups", "losers", "status"), rows):
        print(line)
    for heading, lines in (
        ("Not met yet", result.unmet),
        ("Not decided yet", [*result.open, *([HOW_TO_DECIDE] if result.open else [])]),
        (
            "Goes for good",
            [
                line for one in result.losses if result.status == "shown" and not one.begun
                for line in losses_lines(one, {one.id for one in result.undecided})
            ],
        ),
        (
            "Went for good, as it was counted before that",
            [
                line for one in result.losses if result.status != "shown" or one.begun
                for line in losses_lines(one, ())
            ],
        ),
        (
            "Left as they were",
            [
                f"{step.id}, group {group:,}: {why}"
                for step in result.steps
                for group, why in step.skipped
            ],
        ),
        ("To be known", result.notes),
        ("To be done by you", result.tell if result.status != "shown" else ()),
    ):
        if lines:
            print(f"\n{heading}")
            for line in lines:
                print(f"  {one_line(line)}")
    print()
    if result.status == "shown":
        before = sum(step.status in {"repaired", "left"} for step in result.steps)
        if before:
            print(f"{counted(before, 'step')} of {len(result.steps)} carried out before.")
        print(NOTHING_WRITTEN)
        return
    if result.already_done:
        print("All of it was carried out before; nothing changed.")
    else:
        print(f"Carried out in {result.seconds:.1f} s; each step has a plan in {place}/steps.")
    if result.status == "left":
        print("Once nothing is in the way of what was left, give the command again.")
    print(f"Look once more: {_after('verify', place, database)}")
    print(f"The way back: {_after('undo', place, database, '--execute')}")


def _after(verb: str, place: Path, database: Database, *rest: str) -> str:
    """Write another command about the same recipe, ready to paste."""
    words = ["pgmend", "recipe", verb, str(place), "-d", database.where.conninfo(), *rest]
    return shlex.join(words)


def verification_facts(found: Sequence[StepVerification], place: Path) -> dict[str, Any]:
    """Return the JSON object of ``recipe verify --json``."""
    return {
        "format_version": FORMAT_VERSION,
        "run": str(place),
        "status": "clean" if all(one.verification.clean for one in found) else "findings",
        "steps": [
            {
                "step": one.id, "table": one.table, "run_id": one.verification.run_id,
                **afterwards.verification_facts(one.verification),
            }
            for one in found
        ],
    }


@heard
def print_verifications(found: Sequence[StepVerification], place: Path) -> None:
    """Print what is wrong with what a recipe repaired."""
    for one in found:
        for finding in one.verification.findings:
            print(f"wrong: {one_line(one.id)}, {one_line(one.table)}: {one_line(finding)}")
    wrong = sum(len(one.verification.findings) for one in found)
    word = "all is well" if not wrong else counted(wrong, "finding")
    checks = sum(len(one.verification.checks) for one in found)
    print(f"{place}: {counted(len(found), 'step')}, {counted(checks, 'check')}: {word}.")


def undo_facts(done: Sequence[StepUndo], place: Path) -> dict[str, Any]:
    """Return the JSON object of ``recipe undo --json``."""
    return {
        "format_version": FORMAT_VERSION,
        "run": str(place),
        "steps": [
            {
                "step": one.id, "table": one.table, "run_id": one.undo.run_id,
                **afterwards.put_back_facts(one.undo),
            }
            for one in done
        ],
    }


@heard
def print_undone(done: Sequence[StepUndo], place: Path) -> None:
    """Print what came back, the last step first, and what would make the keys unique again."""
    if not done:
        print(f"{place}: nothing was repaired, so there is nothing to take back.")
        return
    shown = any(one.undo.status == "shown" for one in done)
    rows = [
        (
            one.id, one.table, sum(one.undo.restored.values()), sum(one.undo.put_back.values()),
            "undone before" if one.undo.already_done else one.undo.status,
        )
        for one in done
    ]
    headings = ("to bring back", "to change back") if shown else ("brought back", "changed back")
    header = ("step", "table", *(f"rows {heading}" for heading in headings), "status")
    for line in aligned(header, rows):
        print(line)
    for one in done:
        for text in one.undo.refused:
            print(f"refused: {one_line(one.id)}, {one_line(one.table)}: {one_line(text)}")
    if statements := [text for one in done for text in one.undo.statements]:
        will = "will not be" if shown else "are not"
        print(f"\nThe keys {will} unique then; once the duplicates are gone again, this SQL makes"
              " them so:")
        for text in statements:
            print(f"  {one_line(text)};".replace(";;", ";"))
    print()
    refused = [one for one in done if one.undo.refused]
    if shown:
        print(NOTHING_WRITTEN)
    elif all(one.undo.already_done for one in done):
        print(f"{place}: it was taken back before; nothing changed.")
    elif refused:
        print(f"{place}: stopped at step {one_line(refused[0].id)}, of which rows were refused;"
              " mended, the same command goes on.")
    else:
        now = sum(not one.undo.already_done for one in done)
        print(f"{place}: {counted(now, 'step')} taken back.")

"""What a recipe's directory belongs to: which recipe, by which decisions, and whether it began."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec

from ..errors import RunMismatch
from ..scan.directory import PLAN_FILE
from .begun import SIGN_FILE
from .decisions import Decisions, differing
from .files import read_file, write_file
from .recipe import Recipe


def sign(path: Path, recipe: Recipe, decisions: Decisions, *, executing: bool) -> bool:
    """Write down what the directory belongs to; raise RunMismatch if it is something else.

    Decisions can be changed until the first step has begun; returns whether it has.
    """
    text = json.dumps(msgspec.to_builtins(recipe), sort_keys=True)
    mine: dict[str, Any] = {
        "recipe": recipe.name,
        "digest": hashlib.sha256(text.encode()).hexdigest(),
        "decisions": {
            "answers": dict(decisions.answers),
            "chosen": {name: list(keys) for name, keys in decisions.chosen.items()},
        },
        "executing": executing,
    }
    file = path / SIGN_FILE
    if file.exists():
        known = read_file(file)
        if (known["recipe"], known["digest"]) != (mine["recipe"], mine["digest"]):
            raise RunMismatch(
                f"{path} belongs to another recipe, or to another text of {known['recipe']}",
                hint="Name another directory with --run.",
                field="recipe",
                expected=known["recipe"],
                found=recipe.name,
            )
        if known["executing"] and known["decisions"] != mine["decisions"]:
            raise RunMismatch(
                f"the recipe in {path} was begun with other decisions:"
                f" {differing(known['decisions'], mine['decisions'])}",
                hint="Give the same decisions again, or take it back first: pgmend recipe undo.",
                field="decisions",
                expected=known["decisions"],
                found=mine["decisions"],
            )
        mine["executing"] = executing or known["executing"]
        if known["decisions"] != mine["decisions"]:
            # The plans were made by other decisions, and no repair has begun.
            for plan in path.glob(f"steps/*/{PLAN_FILE}"):
                plan.unlink()
    write_file(file, mine)
    return bool(mine["executing"])

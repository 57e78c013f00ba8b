"""What a recipe's directory belongs to: which recipe, and by which decisions."""

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
from .files import read_file, remove, write_file
from .recipe import Recipe


def sign(path: Path, recipe: Recipe, decisions: Decisions, *, begun: bool) -> None:
    """Write down what the directory belongs to; raise RunMismatch if it is something else.

    Decisions can be changed until the first step has ``begun``.
    """
    text = json.dumps(msgspec.to_builtins(recipe), sort_keys=True)
    mine: dict[str, Any] = {
        "recipe": recipe.name,
        "digest": hashlib.sha256(text.encode()).hexdigest(),
        "decisions": {
            "answers": dict(decisions.answers),
            "chosen": {name: list(keys) for name, keys in decisions.chosen.items()},
        },
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
        changed = known["decisions"] != mine["decisions"]
        if changed and begun:
            raise RunMismatch(
                f"the recipe in {path} was begun with other decisions:"
                f" {differing(known['decisions'], mine['decisions'])}",
                hint="Give the same decisions again. Others take another directory (--run),"
                " once this is taken back: pgmend recipe undo.",
                field="decisions",
                expected=known["decisions"],
                found=mine["decisions"],
            )
        if changed:
            # The plans were made by other decisions.
            remove(*path.glob(f"steps/*/{PLAN_FILE}"))
    write_file(file, mine)

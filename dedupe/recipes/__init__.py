"""Recipes: what one application's duplicates mean, and how each of its tables is repaired."""

from __future__ import annotations

from .begun import DECISIONS_FILE, recipe_finished, recipe_journal
from .choosing import WaitingGroup, WaitingRow, waiting_choices
from .decisions import Decisions, decide
from .finished import StepUndo, StepVerification, undo_recipe, verify_recipe
from .fitting import Fit, fit_recipe
from .losses import Losses
from .reading import load_recipe, read_recipe, recipe_names
from .recipe import Question, Recipe
from .running import RecipeResult, run_recipe
from .stepresult import StepResult
from .undecided import HOW_TO_DECIDE, Undecided

__all__ = [
    "DECISIONS_FILE",
    "HOW_TO_DECIDE",
    "Decisions",
    "Fit",
    "Losses",
    "Question",
    "Recipe",
    "RecipeResult",
    "StepResult",
    "StepUndo",
    "StepVerification",
    "Undecided",
    "WaitingGroup",
    "WaitingRow",
    "decide",
    "fit_recipe",
    "load_recipe",
    "read_recipe",
    "recipe_finished",
    "recipe_journal",
    "recipe_names",
    "run_recipe",
    "undo_recipe",
    "verify_recipe",
    "waiting_choices",
]

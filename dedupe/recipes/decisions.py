"""What people decided: answers to a recipe's questions, and the rows that they chose."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from .recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """Answers and choices; what is open is not in them."""

    #: question to answer
    answers: Mapping[str, str] = field(default_factory=dict)
    #: choice to the primary keys, as texts, of the rows that stay as they are
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def open_questions(self, recipe: Recipe) -> tuple[str, ...]:
        """List the questions of a recipe that nobody has answered."""
        return tuple(
            question.id for question in recipe.questions if question.id not in self.answers
        )

    def answer(self, recipe: Recipe, question: str) -> str:
        """Return the answer to a question: what was decided, or the recipe's default."""
        for known in recipe.questions:
            if known.id == question:
                return self.answers.get(question, known.default)
        raise RecipeError(f"the recipe {recipe.name} has no question {question}", question=question)


def decide(
    recipe: Recipe, given: Iterable[str] = (), file: str | Path | None = None
) -> Decisions:
    """Read decisions: texts ``ID=ANSWER``, and a TOML file of the same, which the texts win over.

    The answer to a choice is a primary key, and there may be several. In a file these are a
    list. Raises RecipeError: no such question or answer, two answers, a file that cannot be
    read.
    """
    answers: dict[str, str] = {}
    chosen: dict[str, list[str]] = {}
    for name, value in (_read(Path(file)) if file is not None else {}).items():
        where = f"the decisions file {file}"
        if name in {choice.id for choice in recipe.choices}:
            values = value if isinstance(value, list) else [value]
            chosen[name] = [str(one) for one in values]
        elif isinstance(value, str):
            answers[name] = _known(recipe, name, value, where)
        else:
            _known(recipe, name, "", where)
            raise RecipeError(f"{where}: {name} must be a text, not {value!r}")
    said: dict[str, str] = {}
    for text in given:
        name, equals, answer = (part.strip() for part in text.partition("="))
        if not (name and equals and answer):
            raise RecipeError(
                f"a decision is not written {text!r}", hint="Write --decide ID=ANSWER."
            )
        if name in {choice.id for choice in recipe.choices}:
            chosen.setdefault(name, []).append(answer)
            continue
        if said.get(name, answer) != answer:
            raise RecipeError(
                f"two decisions about {name}: {said[name]} and {answer}", hint="Keep one of them."
            )
        said[name] = answers[name] = _known(recipe, name, answer, "--decide")
    return Decisions(
        answers=answers,
        chosen={name: tuple(dict.fromkeys(keys)) for name, keys in chosen.items()},
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"cannot read the decisions file {path}:"
            f" {getattr(error, 'strerror', None) or error}",
            hint="Name another one with --decisions.",
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(
            f"the decisions file {path} is not valid TOML: {error}",
            hint='Write a line for each decision: ID = "ANSWER".',
        ) from error


def _known(recipe: Recipe, name: str, answer: str, where: str) -> str:
    """Return the answer if the recipe asks for it. Raises RecipeError."""
    for question in recipe.questions:
        if question.id == name:
            if answer in question.answers:
                return answer
            raise RecipeError(
                f"{where}: {name} has no answer {answer!r}",
                hint=f"One of: {', '.join(question.answers)}.",
            )
    known = [one.id for one in recipe.asked]
    close = difflib.get_close_matches(name, known, 1)
    raise RecipeError(
        f"{where}: the recipe {recipe.name} does not ask {name}",
        hint=f"Did you mean {close[0]}?" if close else f"It asks: {', '.join(known) or 'nothing'}.",
    )

"""What people decided: answers to a recipe's questions, and the rows that they chose."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import RecipeError
from .files import whole
from .recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Decisions:
    """Answers and choices; what is open is not in them."""

    #: question to answer
    answers: Mapping[str, str] = field(default_factory=dict)
    #: choice to the primary keys, as texts, of the rows that stay as they are; of two in one
    #: group the first that is named
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

    def with_answer(self, question: str, answer: str) -> Decisions:
        """Return the same decisions with one answer more."""
        return replace(self, answers={**self.answers, question: answer})

    def with_chosen(self, choice: str, key: str) -> Decisions:
        """Return the same decisions with one row more that stays as it is, by its primary key."""
        known = self.chosen.get(choice, ())
        return replace(self, chosen={**self.chosen, choice: (*known, key)})

    def write(self, file: str | Path) -> None:
        """Write them as ``decide`` reads them, in one piece and for the owner's eyes alone.

        Raises LocalStorageError; RecipeError where a primary key is no text of Unicode, which
        no TOML can hold.
        """
        path = Path(file)
        lines = [
            f"{json.dumps(name)} = {_toml(answer)}" for name, answer in self.answers.items()
        ]
        for name, keys in self.chosen.items():
            listed = "".join(f"    {_toml(key)},\n" for key in keys)
            lines.append(f"{json.dumps(name)} = [\n{listed}]")
        try:
            with whole(path) as out:
                for line in ("# What was decided; the same command reads it again.", *lines):
                    out.write(f"{line}\n")
        except UnicodeEncodeError as error:
            raise RecipeError(
                f"cannot write a decision into {path}: its primary key is no text of Unicode",
                hint="Name that row with --decide each time.",
            ) from error


def decide(
    recipe: Recipe,
    given: Iterable[str] = (),
    file: str | Path | None = None,
    kept: str | Path | None = None,
) -> Decisions:
    """Read decisions: texts ``ID=ANSWER``, a TOML file of the same, and one kept from before.

    The texts win over the file, and that over the kept one, which need not be there yet (see
    ``Decisions.write``). The answer to a choice is a primary key, and there may be several. In
    a file these are a list. Raises RecipeError: no such question or answer, two answers, a
    file that cannot be read.
    """
    answers: dict[str, str] = {}
    files: dict[str, list[str]] = {}
    chosen: dict[str, list[str]] = {}
    sources = []
    if file is not None:
        sources.append((Path(file), "Name another one with --decisions."))
    if kept is not None and Path(kept).exists():
        sources.append((Path(kept), "Mend it; what is not in it is open again."))
    for path, hint in sources:
        where = f"the decisions file {path}"
        for name, value in _read(path, hint).items():
            if name in {choice.id for choice in recipe.choices}:
                values = value if isinstance(value, list) else [value]
                files.setdefault(name, []).extend(str(one) for one in values)
            else:
                answers.setdefault(name, _known(recipe, name, value, where))
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
    for name, keys in files.items():
        chosen.setdefault(name, []).extend(keys)
    return Decisions(
        answers=answers,
        chosen={name: tuple(dict.fromkeys(keys)) for name, keys in chosen.items() if keys},
    )


def differing(
    known: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]
) -> str:
    """Say in which answers and choices two decisions differ; both are mappings of the same."""
    told = [
        f"{name} was {_said(before.get(name))}, and now is {_said(after.get(name))}"
        for before, after in ((known[kind], now[kind]) for kind in ("answers", "chosen"))
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    ]
    return "; ".join(told)


def _said(value: str | Sequence[str] | None) -> str:
    if not value:
        return "the default"
    return value if isinstance(value, str) else ", ".join(value)


def _toml(text: str) -> str:
    """Write a text as one of TOML, whose escapes are those of JSON but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _read(path: Path, hint: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"cannot read the decisions file {path}:"
            f" {getattr(error, 'strerror', None) or error}",
            hint=hint,
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(
            f"the decisions file {path} is not valid TOML: {error}",
            hint='Write a line for each decision: ID = "ANSWER".',
        ) from error


def _known(recipe: Recipe, name: str, answer: object, where: str) -> str:
    """Return the answer if the recipe asks for it. Raises RecipeError."""
    for question in recipe.questions:
        if question.id == name:
            if isinstance(answer, str) and answer in question.answers:
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

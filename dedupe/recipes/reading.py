"""Recipes come from TOML files: some are part of pgmend, others are the user's own.

Everything that can be wrong with a recipe before it meets a database is found here:
unknown keys and wrong types by msgspec, the rest below.
"""

from __future__ import annotations

import difflib
import graphlib
import re
import tomllib
from collections import Counter as Tally
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

import msgspec

from ..errors import KeyDefinitionError, PolicyError, RecipeError
from ..key.text import check_expression
from ..policy import Collision, Keep, Loser, Policy
from .recipe import Case, ExpectedIndex, Gated, Recipe, Soft, Step

_SUFFIX = ".toml"
_AT = re.compile(r" - at `\$\.?([^`]*)`$")


def recipe_names() -> tuple[str, ...]:
    """List the recipes that are part of pgmend, by name."""
    files = resources.files(__package__).iterdir()
    return tuple(
        sorted(file.name.removesuffix(_SUFFIX) for file in files if file.name.endswith(_SUFFIX))
    )


def load_recipe(name: str) -> Recipe:
    """Read a recipe: one of pgmend's own by its name, or a file (a path that ends in .toml).

    Reads no database. Raises RecipeError: there is none of that name, the file cannot be
    read, is not TOML, or says what no recipe can say; the message names the place.
    """
    if name in recipe_names():
        text = resources.files(__package__).joinpath(name + _SUFFIX).read_text("utf-8")
        return read_recipe(text, name)
    if not name.endswith(_SUFFIX):
        close = difflib.get_close_matches(name, recipe_names(), 1)
        known = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(recipe_names())}."
        raise RecipeError(
            f"there is no recipe {name}",
            hint=f"{known} A file of your own ends in {_SUFFIX}.",
            recipe=name,
        )
    try:
        text = Path(name).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"cannot read the recipe {name}: {getattr(error, 'strerror', None) or error}",
            hint=f"Name a file, or one of: {', '.join(recipe_names())}.",
            recipe=name,
        ) from error
    return read_recipe(text, name)


def read_recipe(text: str, name: str) -> Recipe:
    """Read the text of a recipe; ``name`` is what messages call it. Raises RecipeError."""
    try:
        recipe = msgspec.convert(tomllib.loads(text), Recipe)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(
            f"the recipe {name} is not valid TOML: {error}", hint=_FORMAT, recipe=name
        ) from error
    except msgspec.ValidationError as error:
        found = _AT.search(str(error))
        place = f", {found[1]}" if found and found[1] else ""
        raise RecipeError(
            f"the recipe {name}{place}: {_AT.sub('', str(error))}", hint=_FORMAT, recipe=name
        ) from error
    _Check(recipe, name).all()
    return recipe


_FORMAT = "docs/recipes/format.md lists what a recipe can say."


class _Check:
    """Looks for contradictions within a recipe; each raises RecipeError."""

    def __init__(self, recipe: Recipe, name: str) -> None:
        self._recipe = recipe
        self._name = name

    def all(self) -> None:
        """Look at everything."""
        recipe = self._recipe
        self._once("question or choice", (one.id for one in recipe.asked))
        self._once("step", (step.id for step in recipe.steps))
        for question in recipe.questions:
            self._known(f"question {question.id}, default", question.default, question.answers)
        for choice in recipe.choices:
            with self._at(f"choice {choice.id}, default"):
                _keeps(choice.default)
            for heading, shown in choice.shows.items():
                self._expression(f"choice {choice.id}, shows {heading}", shown)
        for index in recipe.indexes:
            self._index(index)
        for step in recipe.steps:
            self._step(step)
        self._order()
        for child in recipe.children:
            place = f"child {child.table}"
            self._versions(place, child)
            if child.on_collision is None and child.apart is None:
                raise self._wrong(place, "it says neither on_collision nor apart")
            if child.on_collision is not None:
                with self._at(f"{place}, on_collision"):
                    Collision.parse(child.on_collision)
        for soft in recipe.soft:
            self._soft(soft)
        for counter in recipe.counters:
            place = f"counter {counter.table}.{counter.column}"
            self._versions(place, counter)
            if counter.where is not None:
                self._expression(f"{place}, where", counter.where)
            if counter.only is not None:
                if counter.parent is None:
                    raise self._wrong(place, "only needs a parent")
                self._expression(f"{place}, only", counter.only)
        if recipe.otherwise is not None:
            with self._at("otherwise, keep"):
                _keeps(recipe.otherwise.keep)
        if (recipe.before.redis_set is None) != (recipe.before.workers is None):
            raise self._wrong("before", "redis_set and workers belong together")
        if recipe.before.redis_known is not None and recipe.before.redis_set is None:
            raise self._wrong("before", "redis_known is for a redis_set")
        for after in recipe.afterwards:
            self._versions("afterwards", after)
            if (after.refresh is None) == (after.tell is None):
                raise self._wrong("afterwards", "each says one of refresh and tell")
        self._releases()

    def _releases(self) -> None:
        schema = self._recipe.schema
        versions = [int(version) for version in schema.releases.values()]
        if versions != sorted(versions):
            raise self._wrong("schema, releases", "the oldest release must come first")
        places = {"version": schema.version, "reached": schema.reached}
        said = {name: place for name, place in places.items() if place is not None}
        if (schema.oldest or versions) and not said:
            raise self._wrong("schema", "versions are given, and not where the database has them")
        if len(said) > 1:
            raise self._wrong("schema", "it says one of version and reached")
        for name, place in said.items():
            if place.count(".") != 1:
                raise self._wrong(f"schema, {name}", "it must be written TABLE.COLUMN")

    def _index(self, index: ExpectedIndex) -> None:
        place = f"index {index.name}"
        self._versions(place, index)
        if index.operators and len(index.operators) != len(index.key):
            raise self._wrong(place, "operators names as many as key, or none")
        for part in index.key:
            self._expression(f"{place}, key", part)
        if index.where is not None:
            self._expression(f"{place}, where", index.where)
        for other in self._recipe.indexes:
            both = other is not index and other.name == index.name and other.table == index.table
            if both and _overlap(index, other):
                raise self._wrong(place, "two of this name count in the same versions")

    def _step(self, step: Step) -> None:
        place = f"step {step.id}"
        self._versions(place, step)
        if not self._recipe.expected(step):
            raise self._wrong(
                place, f"no index {step.index} of table {step.table} is described"
            )
        for number, case in enumerate(step.cases, 1):
            self._case(f"{place}, case {number}", case)
        last = step.cases[-1]
        if len(step.cases) > 1 and any(
            case.same is None and not case.answered for case in step.cases[:-1]
        ):
            raise self._wrong(place, "a case without same and answered takes all groups: it comes"
                              " last")
        if step.cases and last.same is not None and last.loser != "report":
            # Groups that no case is for would stay, and the index with them.
            raise self._wrong(place, "the last case must take all that is left: leave out its same")
        self._answered(place, step)

    def _answered(self, place: str, step: Step) -> None:
        """See to it that every answer to a question of a step has a case."""
        for question in self._recipe.questions:
            asking = [case for case in step.cases if question.id in case.answered]
            without = set(question.answers) - {case.answered[question.id] for case in asking}
            if asking and without:
                raise self._wrong(
                    place,
                    f"no case is for the answer {min(without)} to question {question.id}",
                )

    def _case(self, place: str, case: Case) -> None:
        self._versions(place, case)
        questions = {one.id: one for one in self._recipe.questions}
        choices = {one.id: one for one in self._recipe.choices}
        for question, answer in case.answered.items():
            self._known(f"{place}, answered", question, questions)
            self._known(f"{place}, answered {question}", answer, questions[question].answers)
        if case.choice is not None:
            self._known(f"{place}, choice", case.choice, choices)
            if case.keep:
                raise self._wrong(place, "a choice says itself what it keeps by default")
        keep = choices[case.choice].default if case.choice is not None else case.keep
        with self._at(place):
            Policy(
                keep=_keeps(keep),
                loser=Loser.parse(case.loser),
                merge=case.merge,
                same=case.same,
                accept_loss=case.accept_loss,
            )

    def _soft(self, soft: Soft) -> None:
        place = f"soft {soft.table}.{soft.column}"
        self._versions(place, soft)
        if (soft.type_column is None) != (soft.type_value is None):
            raise self._wrong(place, "type_column and type_value belong together")
        if (soft.kind == "jsonb") != bool(soft.path):
            raise self._wrong(place, "a path belongs to kind jsonb, and only there")

    def _order(self) -> None:
        for step in self._recipe.steps:
            for other in step.after:
                self._known(f"step {step.id}, after", other, {s.id for s in self._recipe.steps})
        try:
            ordered(self._recipe.steps)
        except graphlib.CycleError as error:
            circle = " after ".join(reversed(error.args[1]))
            raise self._wrong("steps", f"they wait for one another: {circle}") from error

    def _versions(self, place: str, gated: Gated) -> None:
        if gated.since and gated.before and int(gated.since) >= int(gated.before):
            raise self._wrong(place, f"no version is since {gated.since} and before {gated.before}")
        for name in gated.needs:
            if name.count(".") > 1:
                raise self._wrong(place, f"needs {name}: write TABLE or TABLE.COLUMN")

    def _once(self, what: str, ids: Iterable[str]) -> None:
        twice = [name for name, count in Tally(ids).items() if count > 1]
        if twice:
            raise self._wrong(f"{what} {twice[0]}", "there are two of that name")

    def _known(self, place: str, name: str, names: Iterable[str]) -> None:
        known = list(names)
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            guess = f"did you mean {close[0]}?" if close else f"known: {', '.join(known) or 'none'}"
            raise self._wrong(place, f"there is no {name}; {guess}")

    def _expression(self, place: str, text: str) -> None:
        with self._at(place):
            check_expression(text, "expression")

    @contextmanager
    def _at(self, place: str) -> Iterator[None]:
        """Say at which place of the recipe an error was found."""
        try:
            yield
        except (PolicyError, KeyDefinitionError) as error:
            raise self._wrong(place, error.message) from error

    def _wrong(self, place: str, why: str) -> RecipeError:
        return RecipeError(
            f"the recipe {self._name}, {place}: {why}",
            hint=_FORMAT,
            recipe=self._name,
            place=place,
        )


def ordered(steps: Sequence[Step]) -> tuple[Step, ...]:
    """Put steps in an order that each can be carried out in, as near to theirs as can be.

    Raises graphlib.CycleError where they wait for one another.
    """
    sorter = graphlib.TopologicalSorter({step.id: step.after for step in steps})
    sorter.prepare()
    by_id = {step.id: (number, step) for number, step in enumerate(steps)}
    ready = [by_id[name] for name in sorter.get_ready()]
    done = []
    while ready:
        first = min(ready, key=lambda one: one[0])
        ready.remove(first)
        done.append(first[1])
        sorter.done(first[1].id)
        ready += [by_id[name] for name in sorter.get_ready()]
    return tuple(done)


def _keeps(texts: Sequence[str]) -> tuple[Keep, ...]:
    return tuple(Keep.parse(text) for text in texts)


def _overlap(one: Gated, other: Gated) -> bool:
    """Whether some version counts both."""
    start = max(int(one.since or 0), int(other.since or 0))
    ends = [int(gated.before) for gated in (one, other) if gated.before is not None]
    return not ends or start < min(ends)

"""The keys that a recipe repairs in one database: those of its steps, and the catalog's others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, count
from pathlib import Path

from ..key import KeyPart, MatchKey
from ..table import quoted
from .begun import KEYS_FILE, damaged, key_facts
from .files import write_file
from .fitting import Fit, FittedIndex, IndexState
from .recipe import Recipe, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeKey:
    """One key to repair."""

    id: str
    table: str
    asked: MatchKey
    #: None: it is in the catalog alone
    step: Step | None
    #: the index that keeps it: its schema and its name; None: there is none
    index: str | None
    #: name of that index
    name: str | None
    #: the unique index to make where there is none, or a plain one
    create: str | None


def keys_of(fit: Fit) -> list[RecipeKey]:
    """List the keys to repair: those of the steps in their order, then the others.

    The others are unique keys over texts, and all whose index is missing or not sound.
    """
    steps = [_key(one.step.id, one, one.step) for one in fit.steps]
    unnamed = [
        _key_of_index(index) for index in fit.unnamed if index.text or not index.sound
    ]
    missing = [
        _key(one.expected.name, one, None)
        for one in fit.missing
        if one.index is None or one.index not in fit.unnamed
    ]
    return _told_apart(steps + unnamed + missing)


def _told_apart(keys: list[RecipeKey]) -> list[RecipeKey]:
    """Give every key an id of its own: two schemas may have an index of one name."""
    taken: set[str] = set()
    found = []
    for key in keys:
        more = (f"{key.id} {number}" for number in count(2))
        own = next(name for name in chain((key.id, key.index or key.id), more) if name not in taken)
        taken.add(own)
        found.append(replace(key, id=own))
    return found


def _key(name: str, fitted: FittedIndex, step: Step | None) -> RecipeKey:
    """Make the key of an index that the recipe describes."""
    expected, index = fitted.expected, fitted.index
    if index is not None:
        create = None if index.unique else index.name
        return replace(_key_of_index(index), id=name, step=step, create=create)
    classes = expected.operators or [None] * len(expected.key)
    asked = MatchKey(
        table=quoted(expected.table),
        parts=tuple(
            KeyPart(text=text, operator_class=operators)
            for text, operators in zip(expected.key, classes, strict=True)
        ),
        where=expected.where,
    )
    return RecipeKey(
        id=name, table=expected.table, asked=asked, step=step,
        index=None, name=None, create=expected.name,
    )


def _key_of_index(index: IndexState) -> RecipeKey:
    """Make the key of an index that is there."""
    return RecipeKey(
        id=index.name,
        table=index.table,
        asked=MatchKey.from_index(quoted(index.name), quoted(index.table)),
        step=None,
        index=index.label,
        name=index.name,
        create=index.name if index.aside else None,
    )


def write_keys(path: Path, keys: Sequence[RecipeKey]) -> None:
    """Write down which keys a recipe's directory is about."""
    facts = [
        {**asdict(key), "asked": key.asked.to_json(), "step": key.step and key.step.id}
        for key in keys
    ]
    write_file(path / KEYS_FILE, facts)


def read_keys(path: Path, recipe: Recipe) -> list[RecipeKey]:
    """Read what ``write_keys`` wrote. Raises RunDirectoryDamaged."""
    steps: dict[str | None, Step | None] = {None: None, **{one.id: one for one in recipe.steps}}
    try:
        return [
            RecipeKey(
                **{**one, "asked": MatchKey.from_json(one["asked"]), "step": steps[one["step"]]}
            )
            for one in key_facts(path)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise damaged(path / KEYS_FILE) from error

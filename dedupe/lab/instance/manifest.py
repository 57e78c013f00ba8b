"""What is true of a damaged instance, and what a repair has to make of it.

Everything is planted in copies: copy ``n`` of a scene, from 0 on, has its own rows, whose
ids are linear in ``n``. So a manifest is short, whatever the number of its rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Release = Literal["3.5.3", "4.7"]
Fate = Literal["stays", "merged", "gone", "any"]


@dataclass(frozen=True, slots=True)
class Ids:
    """The id of one row in each copy: that of copy ``n`` is ``first + n * step``."""

    first: int
    step: int

    def of(self, copy: int) -> int:
        """Return the id in one copy."""
        return self.first + copy * self.step


@dataclass(frozen=True, slots=True)
class Renamed:
    """Another text than before that begins with it; ``{n}`` stands for the copy."""

    before: str


@dataclass(frozen=True, slots=True)
class Lines:
    """A text of these lines in any order; ``{n}`` stands for the copy."""

    lines: tuple[str, ...]


#: in a text ``{n}`` stands for the copy; a tuple is an array, whose order does not matter
Value = None | bool | int | str | Ids | Renamed | Lines | tuple["Value", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One planted row of every copy of a scene, and what is to become of it."""

    table: str
    scene: str
    copies: int
    #: the columns by which it is found afterwards
    key: Mapping[str, Value]
    #: ``any``: nothing says what becomes of it, but that nothing may dangle
    fate: Fate
    #: of a row that stays: what its columns say afterwards
    values: Mapping[str, Value]
    #: of a merged one: the id of the row that took its place
    into: Ids | None = None
    #: of one that is gone: why that is right
    because: str = ""
    #: whether several rows may be found; some tables have no key that would forbid it
    several: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One group of duplicates in every copy of a scene."""

    #: the step of the recipe whose key it is
    step: str
    index: str
    table: str
    scene: str
    copies: int
    #: the key as the first member has it
    key: Mapping[str, Value]
    members: tuple[Ids, ...]
    survivor: Ids
    #: what becomes of each other member, in their order
    fates: tuple[Literal["deleted", "renamed", "blanked"], ...]


@dataclass(frozen=True, slots=True)
class Background:
    """The sound rows of a table: how many, and the sum of their hashes."""

    rows: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A damaged instance: its groups, its planted rows, and all the others."""

    release: Release
    statuses: int
    seed: int
    duplicate_rate: float
    groups: tuple[Group, ...]
    rows: tuple[Row, ...]
    background: Mapping[str, Background]
    #: rows of all tables, planted ones included
    total: int

    def to_json(self) -> str:
        """Write it as JSON."""
        return json.dumps(
            asdict(self)
            | {
                "groups": [_plain(group) for group in self.groups],
                "rows": [_plain(row) for row in self.rows],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read what ``to_json`` wrote."""
        facts = json.loads(text)
        facts["groups"] = tuple(Group(**_fields(one)) for one in facts["groups"])
        facts["rows"] = tuple(Row(**_fields(one)) for one in facts["rows"])
        facts["background"] = {
            table: Background(**one) for table, one in facts["background"].items()
        }
        return cls(**facts)


def _plain(one: Group | Row) -> dict[str, Any]:
    return {name: _encoded(getattr(one, name)) for name in one.__dataclass_fields__}


def _encoded(value: Any) -> Any:
    match value:
        case Ids():
            return {"ids": [value.first, value.step]}
        case Renamed():
            return {"renamed": value.before}
        case Lines():
            return {"lines": list(value.lines)}
        case Mapping():
            return {"columns": {name: _encoded(one) for name, one in value.items()}}
        case tuple():
            return [_encoded(one) for one in value]
    return value


def _fields(one: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _decoded(value) for name, value in one.items()}


def _decoded(value: Any) -> Any:
    match value:
        case {"ids": [first, step]}:
            return Ids(first, step)
        case {"renamed": before}:
            return Renamed(before)
        case {"lines": lines}:
            return Lines(tuple(lines))
        case {"columns": columns}:
            return {name: _decoded(one) for name, one in columns.items()}
        case str() | bytes():
            return value
        case Sequence():
            return tuple(_decoded(one) for one in value)
    return value

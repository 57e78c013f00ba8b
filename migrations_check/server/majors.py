"""What PostgreSQL removed or changed, by major version: data, each with its release note."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

#: the newest major version that the data knows
NEWEST = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Something that is not as it was from a major version on."""

    major: int
    #: the release note that says so
    note: str
    names: tuple[str, ...]
    #: the entry itself, for what only one kind has
    facts: dict[str, Any]


@cache
def _data() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("majors.toml").read_text("utf-8")
    return tomllib.loads(text)


def removed(kind: str, old: int, new: int) -> Iterator[Removed]:
    """Yield what of a kind is gone or changed in an upgrade from major ``old`` to ``new``."""
    for entry in _data()[kind]:
        if old < entry["major"] <= new:
            yield Removed(
                major=entry["major"],
                note=note_of(entry["major"]),
                names=tuple(entry.get("names", [entry.get("name")])),
                facts=entry,
            )


def removed_by_name(kind: str, old: int, new: int) -> dict[str, Removed]:
    """Return the same by each of its names."""
    return {name: one for one in removed(kind, old, new) for name in one.names}


class Settings:
    """Settings that a newer major does not know, and values that it does not take."""

    def __init__(self, old: int, new: int) -> None:
        self._gone = removed_by_name("settings", old, new)
        self._values = removed_by_name("values", old, new)
        #: of all of them
        self.names = sorted({*self._gone, *self._values})

    def refused(self, name: str, value: str) -> tuple[Removed, str] | None:
        """Tell whether the newer major refuses a setting, and in which words."""
        if entry := self._gone.get(name):
            return entry, f"PostgreSQL {entry.major} does not know the setting ({entry.note})"
        entry = self._values.get(name)
        if entry and value.strip("'\"").lower() in entry.facts["values"]:
            return entry, f"PostgreSQL {entry.major} does not take the value {value} ({entry.note})"
        return None


def brought() -> frozenset[str]:
    """Return the extensions that come with the newest PostgreSQL itself."""
    return frozenset(_data()["brought"])


def damaging_minors() -> list[dict[str, Any]]:
    """Return the ranges of minor versions that damage indexes."""
    return list(_data()["minors"])


def note_of(major: int) -> str:
    """Return the address of the release notes of a major version."""
    return str(_data()["notes"][str(major)])

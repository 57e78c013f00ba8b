"""What is known of Mastodon's releases: data, read from ``mastodon.toml`` once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from dedupe.errors import UsageError

_VERSION = re.compile(r"v?(\d{1,6})\.(\d{1,6})(?:\.(\d{1,6}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Patch releases with the same migrations."""

    #: the first of them, and the newest whose files were looked at
    first: str
    seen: str
    #: all versions below db/migrate and db/post_migrate
    pre: frozenset[str]
    post: frozenset[str]
    #: those that the release before did not have
    added: frozenset[str]
    #: oldest major version of PostgreSQL
    postgresql: int
    #: oldest Redis, or empty
    redis: str
    ruby: str
    node: str
    #: further programs, or empty
    other: str

    @property
    def versions(self) -> frozenset[str]:
        """All its migrations."""
        return self.pre | self.post

    @property
    def name(self) -> str:
        """Name for people: ``3.5.2 to 3.5.3``."""
        return self.first if self.first == self.seen else f"{self.first} to {self.seen}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The release that is to be upgraded to."""

    #: as it was asked for, without the v
    name: str
    release: Release
    #: whether the files of this very patch release were looked at
    seen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A unique index that a migration makes over rows that are there already."""

    migration: str
    table: str
    index: str
    #: columns or SQL expressions
    key: tuple[str, ...]
    where: str | None
    #: columns without which the key says nothing yet
    needs: tuple[str, ...]
    duplicates: Literal["fail", "lose", "delete"]
    #: what it does with duplicates, or empty
    message: str
    #: what a person has to decide, or empty
    remedy: str
    #: whether the recipe for Mastodon repairs them
    recipe: bool


@cache
def data() -> dict[str, Any]:
    """Return the file as it stands, but for what has a function of its own."""
    text = resources.files(__package__).joinpath("mastodon.toml").read_text("utf-8")
    return tomllib.loads(text)


@cache
def releases() -> tuple[Release, ...]:
    """Return all releases, oldest first."""
    return tuple(_read())


def known() -> frozenset[str]:
    """Return the migrations of all releases."""
    return frozenset().union(*(release.added for release in releases()))


def forks(versions: frozenset[str]) -> dict[str, frozenset[str]]:
    """Tell which of some migrations belong to a fork that is known, by its name."""
    found = {entry["name"]: versions & set(entry["versions"]) for entry in data()["fork"]}
    return {name: some for name, some in found.items() if some}


def new_keys(migrations: frozenset[str]) -> list[NewKey]:
    """Return the unique keys that some migrations make."""
    return [
        NewKey(
            migration=entry["migration"], table=entry["table"], index=entry["index"],
            key=tuple(entry["key"]), where=entry.get("where"),
            needs=tuple(entry.get("needs", entry["key"])),
            duplicates=entry["duplicates"], message=entry.get("message", ""),
            remedy=entry.get("remedy", ""), recipe=entry.get("recipe", False),
        )
        for entry in data()["key"]
        if entry["migration"] in migrations
    ]


def since(release: Release, first: str) -> bool:
    """Tell whether a release is ``first`` or a later one."""
    return _numbers(release.first) >= _numbers(first)


def target(text: str) -> Target:
    """Find the release that is meant: ``4.7.0``, ``v4.7.0``, or ``4.7`` for its newest.

    Raises UsageError, which names the nearest.
    """
    found = _VERSION.fullmatch(text.strip())
    if found:
        series = [one for one in releases() if _numbers(one.first)[:2] == _series(found)]
        if series and found[3] is None:
            return Target(name=series[-1].seen, release=series[-1], seen=True)
        patch = int(found[3] or 0)
        for one in reversed(series):
            if _numbers(one.first)[2] <= patch:
                return Target(
                    name=text.strip().removeprefix("v"), release=one,
                    seen=patch <= _numbers(one.seen)[2],
                )
    raise _unknown(text)


def _unknown(text: str) -> UsageError:
    names = [name for one in releases() for name in dict.fromkeys((one.first, one.seen))]
    wanted = [int(number) for number in re.findall(r"\d{1,6}", text)[:3]]
    below = [name for name in names if list(_numbers(name)) <= wanted]
    if wanted > list(_numbers(names[-1])):
        hint = f"The newest that is known is {names[-1]}; a newer pgmend may know more."
    else:
        hint = f"Did you mean {(below or names)[-1 if below else 0]}?" if wanted else ""
        hint = f"{hint} Known are {names[0]} to {names[-1]}.".strip()
    return UsageError(f"there is no Mastodon {text} that is known here", hint=hint, version=text)


def _read() -> Iterator[Release]:
    pre: frozenset[str] = frozenset()
    post: frozenset[str] = frozenset()
    for entry in data()["release"]:
        dropped = frozenset(entry.get("dropped", ()))
        added = frozenset([*entry["pre"], *entry["post"]])
        pre = (pre - dropped) | frozenset(entry["pre"])
        post = (post - dropped) | frozenset(entry["post"])
        yield Release(
            first=entry["first"], seen=entry["seen"], pre=pre, post=post, added=added,
            postgresql=entry["postgresql"], redis=entry["redis"], ruby=entry["ruby"],
            node=entry["node"], other=entry.get("other", ""),
        )


def _series(found: re.Match[str]) -> tuple[int, ...]:
    return int(found[1]), int(found[2])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in version.split("."))

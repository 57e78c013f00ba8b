"""What the name of an image says: whose it is, which version, which C library.

Facts about known images stand in ``images.toml``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from .pieces import Text, joined, within
from .source import Span

Role = Literal["application", "database", "cache"]

#: what follows a version and makes it another one: a release candidate, a rebuild
_OTHER = (r"(?![0-9A-Za-z_])(?!\.\d)(?!-\d)"
          r"(?![-.+~]?(?:rc|alpha|beta|pre|dev|[ab](?=\d))(?:[^a-z]|$))")
#: last parts of names that many applications share
_GENERIC = frozenset({"agent", "api", "app", "backend", "base", "client", "core", "frontend",
                      "main", "proxy", "server", "ui", "web", "worker"})
_NAMED = re.compile(r"v?\d+(?:\.\d+)*(?:[-.]?(?:rc|alpha|beta|pre|dev)[-.]?\d*|-\d+)*(?=$|[-+._])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of one kind of image."""

    names: tuple[str, ...]
    role: Role
    #: finds the server's major in a tag; None: not a PostgreSQL
    major: str | None
    #: upgrades the data directory by itself
    upgrades: bool
    #: [first major, data directory, where the volume belongs], newest first
    data: tuple[tuple[int, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image's name, taken apart."""

    text: Text
    #: name without registry and ``library/``
    name: str
    #: empty where none is said
    tag: str
    digest: str

    @property
    def role(self) -> Role:
        """Whether it is a database, a cache or neither."""
        known = known_image(self.name)
        return known.role if known else "application"

    @property
    def version(self) -> str | None:
        """The version that the tag begins with, as it is written there."""
        return version_in(self.tag)

    @property
    def major(self) -> str | None:
        """The major of the PostgreSQL in it: ``9.6``, ``14``; None where the tag does not say."""
        known = known_image(self.name)
        found = known and known.major and re.search(known.major, self.tag)
        return _major(found[1]) if found else None

    @property
    def named(self) -> bool:
        """Whether no variable without a value left its name or its tag open."""
        return bool(self.name) and not str(self).endswith(":")

    @property
    def floating(self) -> bool:
        """Whether the tag is moved to each new version."""
        if self.digest or not self.named:
            # What a variable without a value leaves open is no tag that moves.
            return False
        return self.tag in {"", "latest"} or (self.role == "database" and self.libc == self.tag)

    @property
    def libc(self) -> str:
        """The distribution or release that the tag names, which decides how text is sorted."""
        for part in reversed(self.tag.split("-")):
            if part.startswith("alpine") or part in glibc():
                return part
        return ""

    def tag_spans(self) -> tuple[Span, ...]:
        """Return where the tag stands."""
        whole = joined(self.text)
        end = len(whole.partition("@")[0])
        return tuple(within(self.text, end - len(self.tag), end))

    def __str__(self) -> str:
        """Return the name as it is resolved."""
        return joined(self.text)


def image_of(text: Text) -> Image:
    """Take an image's name apart."""
    whole, _, digest = joined(text).partition("@")
    path, colon, tag = whole.rpartition(":")
    if not colon or "/" in tag:
        path, tag = whole, ""
    first, slash, rest = path.partition("/")
    if slash and (re.search(r"[.:]", first) or first == "localhost"):
        path = rest
    return Image(text=text, name=path.removeprefix("library/"), tag=tag, digest=digest)


@cache
def facts() -> tuple[Known, ...]:
    """Read what is known of images."""
    table = tomllib.loads(files(__package__).joinpath("images.toml").read_text("utf-8"))
    return tuple(
        Known(
            names=tuple(one["names"]),
            role=one["role"],
            major=one.get("major"),
            upgrades=one.get("upgrades", False),
            data=tuple((row[0], row[1], row[2]) for row in one.get("data", ())),
        )
        for one in table["image"]
    )


@cache
def glibc() -> dict[str, str]:
    """Return the glibc of each Debian release whose name a tag may end with."""
    table = tomllib.loads(files(__package__).joinpath("images.toml").read_text("utf-8"))
    return dict(table["glibc"])


def known_image(name: str) -> Known | None:
    """Find an image by its whole name, else by the last part of it: mirrors keep that."""
    last = name.rpartition("/")[2]
    for wanted in (name, last):
        for one in facts():
            if wanted in one.names:
                return one
    return None


def named_after_store(variable: str) -> bool:
    """Tell whether a variable is named after a database or a cache: ``POSTGRES_VERSION``."""
    words = set(re.split(r"[^a-z]+", variable.lower()))
    stores = {name.rpartition("/")[2] for one in facts() for name in one.names}
    return bool(words & (stores | {"pg", "db", "psql"}))


def family(name: str, others: Collection[str]) -> str:
    """Return the application an image belongs to: ``app/web-api`` goes with ``app/web``.

    A name that says something stands for the application, whoever publishes it.
    """
    parts = name.split("-")
    shorter = ("-".join(parts[:count]) for count in range(1, len(parts)))
    whole = next((one for one in shorter if one in others), name)
    last = whole.rpartition("/")[2]
    return whole if last in _GENERIC else last


def pattern(version: str, other: str | None = None) -> re.Pattern[str]:
    """Match a version as a whole: not v3.5.3 in v3.5.30, in 1.v3.5.3 or in v3.5.3-rc1.

    A leading ``v`` may be there or not, if ``other`` (what replaces it) has it or not alike.
    """
    loose = other is None or version.startswith("v") == other.startswith("v")
    core = re.escape(bare(version) if loose else version)
    return re.compile(rf"(?<![0-9A-Za-z_.])({'v?' if loose else ''}){core}{_OTHER}")


def version_in(text: str) -> str | None:
    """Return the version that a tag or a value begins with."""
    found = _NAMED.match(text)
    return found[0] if found else None


def bare(version: str) -> str:
    """Leave out a leading ``v``."""
    return version[1:] if re.match(r"v\d", version) else version


def like(known: str, version: str) -> str:
    """Give a version, but no other tag, a leading ``v`` or none, as a known one has it."""
    if not (re.match(r"v?\d", known) and re.match(r"v?\d", version)):
        return version
    return f"v{bare(version)}" if known.startswith("v") else bare(version)


def _major(version: str) -> str:
    first, _, rest = version.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if int(first) < 10 and rest else first

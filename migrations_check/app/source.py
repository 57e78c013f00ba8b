"""The files that are read, as bytes and as text, and spans of them that name something.

Positions count characters of the text, and the text is the bytes decoded and nothing else: line
ends and a byte order mark stay in it, so that an edit leaves every other byte as it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dedupe.errors import UsageError

Kind = Literal["compose", "dockerfile", "env"]

_DOCKERFILE = re.compile(r"(^|\.)(Dockerfile|Containerfile)($|[.-])", re.IGNORECASE)
_ENV = re.compile(r"^\.env($|\.)|\.env$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One file, whole."""

    #: as it was named
    path: Path
    #: where it is, links followed
    real: Path
    kind: Kind
    raw: bytes
    #: the same, decoded
    text: str

    @property
    def start(self) -> int:
        """Where the text begins behind a byte order mark."""
        return int(self.text.startswith("\ufeff"))

    @property
    def body(self) -> str:
        """The text as parsers want it: without the byte order mark."""
        return self.text[self.start :]

    def line(self, position: int) -> int:
        """Return the number of the line of a position, from 1."""
        return self.text.count("\n", 0, position) + 1

    def at(self, position: int) -> str:
        """Name a position for people: ``file:line``."""
        return f"{self.path}:{self.line(position)}"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Span:
    """A part of a file's text."""

    real: Path
    start: int
    end: int


def kind_of(path: Path) -> Kind:
    """Tell by its name what a file is; whatever is no Dockerfile or env file is a compose file."""
    if _DOCKERFILE.search(path.name):
        return "dockerfile"
    return "env" if _ENV.search(path.name) else "compose"


def load(path: Path, overlay: Mapping[Path, bytes], kind: Kind | None = None) -> Source:
    """Read a file, or what ``overlay`` holds in its stead. Raises UsageError: no UTF-8 text."""
    try:
        real = path.resolve(strict=True)
        raw = overlay[real] if real in overlay else real.read_bytes()
    except (OSError, RuntimeError) as error:
        raise UsageError(
            f"cannot read {path}: {getattr(error, 'strerror', None) or error}",
            hint="Name the compose files and Dockerfiles as they are given to docker compose.",
            path=str(path),
        ) from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not text in UTF-8",
            hint="Save it as UTF-8; Docker reads nothing else.",
            path=str(path),
        ) from error
    return Source(path=path, real=real, kind=kind or kind_of(path), raw=raw, text=text)

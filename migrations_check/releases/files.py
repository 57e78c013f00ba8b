"""Files that a person wrote: migrations and variables, read as text and never run."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv import dotenv_values

from dedupe.errors import UsageError


def text_of(path: Path, hint: str) -> str:
    """Read a file whole, line ends as they are. Raises UsageError: unreadable, no UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UsageError(
            f"cannot read {path}: {error.strerror}", hint=hint, path=str(path)
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is not text in UTF-8: byte {error.start + 1} is none of it",
            hint="Save it as UTF-8, or take it out of the directory.", path=str(path),
        ) from error


def below(directory: Path, pattern: str) -> Iterator[Path]:
    """Yield the files below a directory by a pattern, in the order of their paths.

    Raises UsageError: it cannot be listed.
    """
    hint = "Name the directory that holds the migrations, such as db/migrate."
    try:
        # A glob passes over what it may not list.
        for place in (directory, *(one for one in directory.rglob("*") if one.is_dir())):
            next(place.iterdir(), None)
        found = sorted(one for one in directory.glob(pattern) if one.is_file())
    except OSError as error:
        raise UsageError(
            f"cannot list {error.filename or directory}: {error.strerror}", hint=hint,
            path=str(directory),
        ) from error
    yield from found


def variables(path: Path) -> Mapping[str, str]:
    """Read a file of environment variables; one without a value is empty. Raises UsageError."""
    text = text_of(path, "Name the file that Mastodon's services read: .env.production.")
    found = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {name: value or "" for name, value in found.items()}

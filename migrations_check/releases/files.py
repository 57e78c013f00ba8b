"""Files that a person wrote: migrations and variables, read as text and never run."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dotenv.parser import parse_stream

from dedupe.errors import UsageError

from ..findings import Finding, Unseen, Voice

#: of a file of migrations that cannot be read
READ_HINT = "Give pgmend the right to read it, or run it as the application's user."


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
            hint="Save it as UTF-8, or leave it out.", path=str(path),
        ) from error


def matching(directories: Sequence[Path], pattern: str) -> Iterator[Path]:
    """Yield the files of some directories by a pattern, each once, however it is reached.

    Raises UsageError: a directory cannot be listed.
    """
    files = {path.resolve(): path for one in directories for path in _below(one, pattern)}
    yield from files.values()


def _below(directory: Path, pattern: str) -> list[Path]:
    hint = "Name the directory that holds the migrations, such as db/migrate."
    try:
        # A glob passes over what it may not list.
        deep = directory.rglob("*") if pattern.startswith("**") else ()
        for place in (directory, *(one for one in deep if one.is_dir())):
            next(place.iterdir(), None)
        return sorted(one for one in directory.glob(pattern) if one.is_file())
    except OSError as error:
        raise UsageError(
            f"cannot list {error.filename or directory}: {error.strerror}", hint=hint,
            path=str(directory),
        ) from error


def edited(voice: Voice, before: Path, now: Path) -> Finding:
    """Say that a migration ran, and that its file was another one then."""
    return voice.warning(
        str(now),
        "it ran already, and is not what it was in the installed release: what was changed in it"
        " will never run here",
        f"diff {shlex.quote(str(before))} {shlex.quote(str(now))}, and do by hand what it lacks",
    )


def edits_unseen(voice: Voice, what: str, called: str) -> Unseen:
    """Say that without the installed release's files nobody can tell; ``called``: a migration."""
    return voice.unseen(
        what,
        f"whether a {called} was edited after it ran: a database keeps no checksum. Name the files"
        " of the installed release with --installed DIR.",
    )


def variables(path: Path) -> Mapping[str, str]:
    """Read a file of environment variables; one without a value is empty. Raises UsageError."""
    text = text_of(path, "Name the file that Mastodon's services read: .env.production.")
    # A line that is no assignment is Mastodon's to complain about.
    return {
        binding.key: binding.value or ""
        for binding in parse_stream(io.StringIO(text)) if binding.key is not None
    }

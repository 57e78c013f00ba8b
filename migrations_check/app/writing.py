"""Writes a change to all files or to none, and takes it back to the byte.

The old files are kept in ``.pgmend-compose`` beside the first compose file, one numbered
directory a write, readable by their owner only. Order: the old files and a list of all digests
are synced; each new file is written and synced beside the old one; only then are they renamed,
and the list is marked as done. A failure in between puts back what was renamed; after a crash
the list still tells, and the next write is refused until ``revert_compose`` has put the rest back.

Source: https://man7.org/linux/man-pages/man2/rename.2.html
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from dedupe.errors import LocalStorageError, RefusedError, UsageError

from .checking import Composed
from .project import Project, project_directory

_KEPT = ".pgmend-compose"
_LIST = "list.json"
_FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    #: the file, links followed
    path: str
    #: its copy in the same directory as the list
    copy: str
    #: SHA-256 of the contents before and after
    before: str
    after: str


def write_compose(composed: Composed) -> tuple[Path, ...]:
    """Write a planned change to the files, all or none; return them as they were named.

    Raises UsageError: no change is planned, a file is read-only; RefusedError: a file has changed
    since it was read, or an earlier write was cut short; LocalStorageError.
    """
    if composed.change is None:
        raise UsageError("no change is planned", hint="Say a new version.")
    project, contents = composed.project, composed.change.contents
    for real in contents:
        _writable(project.sources[real].path, real)
    with _locked(project.directory / _KEPT) as kept:
        step = _last(kept)
        if step is not None and not _read(step)[0]:
            raise _cut_short(step)
        new = kept / str(int(step.name) + 1 if step else 1)
        with _told(new):
            entries = _keep(new, project, contents)
        try:
            _replace(project, contents)
            _list(new, entries, done=True)
        except BaseException:
            # Also a signal: what was renamed goes back before anything is said.
            _put_back(new, entries)
            _drop(new)
            raise
    return tuple(project.sources[real].path for real in contents)


def revert_compose(files: Sequence[Path]) -> tuple[Path, ...]:
    """Put the files back as they were before the last write; return them.

    ``files`` are those of the write: the first compose file tells where the old ones are.

    Raises UsageError: there is none; RefusedError: a file was changed since; LocalStorageError.
    """
    where = project_directory(files)
    if not (where / _KEPT).is_dir():
        raise _nothing(where)
    with _locked(where / _KEPT) as kept:
        step = _last(kept)
        if step is None:
            raise _nothing(where)
        _, entries = _read(step)
        for one in entries:
            found = _digest(_bytes(Path(one.path)))
            if found not in {one.before, one.after}:
                raise RefusedError(
                    f"{one.path} was changed since the write that is to be taken back",
                    hint=f"Its old contents are in {step / one.copy}; compare and copy by hand.",
                    path=one.path,
                )
            _writable(Path(one.path), Path(one.path))
        _put_back(step, entries)
        with _told(step):
            for one in entries:
                # Left by a write that was killed.
                _new_name(Path(one.path)).unlink(missing_ok=True)
            _drop(step)
    return tuple(Path(one.path) for one in entries)


def _keep(step: Path, project: Project, contents: Mapping[Path, bytes]) -> tuple[_Entry, ...]:
    building = step.with_name(f"{step.name}.new")
    if building.exists():
        shutil.rmtree(building)
    building.mkdir(mode=0o700)
    entries = []
    for number, (real, content) in enumerate(contents.items()):
        raw = project.sources[real].raw
        entry = _Entry(path=str(real), copy=f"{number}-{real.name}",
                       before=_digest(raw), after=_digest(content))
        _put(building / entry.copy, raw)
        entries.append(entry)
    _list(building, tuple(entries), done=False)
    building.rename(step)
    _sync(step.parent)
    return tuple(entries)


def _replace(project: Project, contents: Mapping[Path, bytes]) -> None:
    """Write all new files, then rename them all."""
    prepared: list[tuple[Path, Path]] = []
    try:
        for real, content in contents.items():
            with _told(real):
                prepared.append((_beside(real, content), real))
        for real in contents:
            if _bytes(real) != project.sources[real].raw:
                raise RefusedError(
                    f"{project.sources[real].path} was changed by someone else meanwhile",
                    hint="Look at it, and run the command again.",
                    path=str(real),
                )
        for new, real in prepared:
            with _told(real):
                new.rename(real)
                _sync(real.parent)
    finally:
        for new, _ in prepared:
            new.unlink(missing_ok=True)


def _put_back(step: Path, entries: tuple[_Entry, ...]) -> None:
    """Put back what was renamed here; what somebody else wrote meanwhile is theirs."""
    for one in entries:
        path = Path(one.path)
        if _digest(_bytes(path)) == one.after:
            with _told(path):
                _beside(path, _bytes(step / one.copy)).rename(path)
                _sync(path.parent)


def _drop(step: Path) -> None:
    """Remove a step, and the directory of all steps after the last one."""
    shutil.rmtree(step)
    if _last(step.parent) is None:
        shutil.rmtree(step.parent)


def _beside(real: Path, content: bytes) -> Path:
    """Write a synced file beside another one, with its owner and mode."""
    facts = real.stat()
    new = _new_name(real)
    new.unlink(missing_ok=True)
    try:
        _put(new, content)
        with suppress(PermissionError):
            # Only root can give a file away; to others it is theirs already.
            os.chown(new, facts.st_uid, facts.st_gid)
        new.chmod(facts.st_mode & 0o7777)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return new


def _new_name(real: Path) -> Path:
    return real.with_name(f".{real.name}.pgmend-new")


def _put(path: Path, content: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _list(step: Path, entries: tuple[_Entry, ...], *, done: bool) -> None:
    with _told(step):
        text = json.dumps({"format_version": _FORMAT, "done": done,
                           "files": [asdict(one) for one in entries]}, indent=1)
        new = step / f"{_LIST}.new"
        new.unlink(missing_ok=True)
        _put(new, text.encode())
        new.rename(step / _LIST)
        _sync(step)


def _read(step: Path) -> tuple[bool, tuple[_Entry, ...]]:
    try:
        facts = json.loads((step / _LIST).read_text("utf-8"))
        entries = tuple(_Entry(**one) for one in facts["files"])
        whole = facts["format_version"] == _FORMAT and all(
            _digest((step / one.copy).read_bytes()) == one.before for one in entries
        )
        done = bool(facts["done"])
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise RefusedError(
            f"what {step} keeps is not as it was written",
            hint="Compare the files in it with those of the project by hand, then remove it.",
            path=str(step),
        )
    return done, entries


@contextmanager
def _locked(kept: Path) -> Iterator[Path]:
    """Let one process write at a time."""
    with _told(kept):
        kept.mkdir(mode=0o700, exist_ok=True)
        # Copies may hold secrets of .env; they belong into no repository.
        (kept / ".gitignore").write_text("*\n", "utf-8")
        handle = os.open(kept, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RefusedError(
                f"another process writes to the project of {kept}",
                hint="Wait until it has ended.",
                path=str(kept),
            ) from error
        yield kept
    finally:
        os.close(handle)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LocalStorageError(
            f"cannot write {path}: {error.strerror or error}",
            hint="No file of the project is changed; see to the rights and the room there.",
            path=str(path),
        ) from error


def _last(kept: Path) -> Path | None:
    steps = [one for one in kept.iterdir() if one.name.isdigit()]
    return max(steps, key=lambda one: int(one.name), default=None)


def _writable(named: Path, real: Path) -> None:
    """Refuse a read-only file: a rename would replace it all the same."""
    if not real.stat().st_mode & 0o222 or not os.access(real, os.W_OK):
        raise UsageError(
            f"{named} is read-only; no file is changed",
            hint=f"chmod u+w {named}, if it is meant to be edited here.",
            path=str(named),
        )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LocalStorageError(
            f"cannot read {path}: {error.strerror}", hint="It was there before.", path=str(path)
        ) from error


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cut_short(step: Path) -> RefusedError:
    return RefusedError(
        "an earlier --write was cut short: some files have the new version, some the old one",
        hint="Put all of them back first: the same files with --revert.",
        path=str(step),
    )


def _nothing(where: Path) -> UsageError:
    return UsageError(
        f"there is nothing to take back in {where}",
        hint="--revert takes the files of the --write, the same compose file first.",
        path=str(where),
    )

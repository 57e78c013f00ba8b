"""Run directories: made, found again, and emptied for a fresh start.

A directory of pgmend's is its owner's alone (0700) and is only ever touched if
everything in it is pgmend's.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from ..connect import Connectable, connect
from ..errors import (
    DedupeError,
    LocalStorageError,
    NotARunDirectory,
    NotEnoughSpace,
    RefusedError,
)
from ..groups import GROUPS_FILE
from ..key import MatchKey, resolve_all
from ..progress import RunStatus
from .checkpoint import STATE_FILE, State, is_state
from .identity import Identity, identify, read_server
from .keys import load_scanned
from .owner import LOCK_FILE
from .pace import PAUSE_FILE, STOP_FILE

SPILL_FILE = "spill"
PLAN_FILE = "plan.sqlite"
#: sign in a run directory that its repair has begun
REPAIRING_FILE = "repairing"
#: directories of the scans that a repair makes
ROUND_PREFIX = "round-"
_STATE = (STATE_FILE, f"{STATE_FILE}-journal", "state.new", "state.new-journal")
_WORK = (SPILL_FILE, GROUPS_FILE, f"{GROUPS_FILE}.new", PLAN_FILE, f"{PLAN_FILE}.new")
_SIGNS = (LOCK_FILE, PAUSE_FILE, STOP_FILE)
#: bytes of the disk that are left alone
_RESERVE = 16 << 20


def names_in(directory: Path, foreign: NotARunDirectory) -> set[str]:
    """Make a directory if it is missing, for its owner alone; return the names in it.

    Raises ``foreign`` where a file is in the way, LocalStorageError.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return {path.name for path in directory.iterdir()}
    except (FileExistsError, NotADirectoryError) as error:
        raise foreign from error
    except OSError as error:
        raise LocalStorageError(
            f"cannot make or read {directory}: {error.strerror}",
            hint="Name another directory with --run.",
            path=directory,
        ) from error


def make(directory: Path) -> None:
    """Make the directory if it is missing; raise unless it is a run's or empty.

    Raises NotARunDirectory, LocalStorageError.
    """
    names = names_in(directory, _not_a_run(directory))
    # A lock and no state: whoever owned it was killed while emptying it. A lock and a
    # state that is no database any more: a run's, damaged.
    known = {*_STATE, *_SIGNS, *(_WORK if LOCK_FILE in names else ())}
    if LOCK_FILE not in names:
        known.discard(STATE_FILE)
    if not names <= known and not is_state(directory / STATE_FILE):
        raise _not_a_run(directory)
    if not names:
        try:
            directory.chmod(0o700)
        except OSError as error:
            raise LocalStorageError(
                f"cannot close {directory} to others: {error.strerror}",
                hint="Name another run directory with --run.",
                path=directory,
            ) from error


def empty(directory: Path) -> None:
    """Remove what a run left in its directory, all but its lock.

    Raises LocalStorageError, RefusedError where a repair of the run has begun: its
    journal can be undone or gone on with from here.
    """
    if (directory / REPAIRING_FILE).exists():
        raise RefusedError(
            f"the repair of {directory} has changed rows; the directory is not emptied",
            hint="Name another run directory with --run. The repair can go on, or be taken"
            f" back: pgmend undo {directory}.",
            path=directory,
        )
    try:
        # The state goes first: without it nothing else in the directory counts.
        for name in (*_STATE, *_WORK, PAUSE_FILE, STOP_FILE):
            (directory / name).unlink(missing_ok=True)
        for path in directory.glob(f"{ROUND_PREFIX}*"):
            shutil.rmtree(path)
    except OSError as error:
        raise LocalStorageError(
            f"cannot empty {directory}: {error.strerror}",
            hint="Name another run directory with --run.",
            path=directory,
        ) from error


def check_space(directory: Path, needed: int) -> None:
    """Raise NotEnoughSpace unless ``needed`` bytes fit on the disk under the directory."""
    free = shutil.disk_usage(directory).free - _RESERVE
    if needed > free:
        raise NotEnoughSpace(
            f"the scan needs about {-(-needed // 1_000_000):,} MB in {directory}, and"
            f" {max(0, free) // 1_000_000:,} MB are free",
            hint="Make room, or name a directory on a larger disk with --run.",
            needed=needed,
            free=max(0, free),
            path=directory,
        )


def default_run_directory(
    base: Path | str, db: Connectable, keys: Sequence[MatchKey], *, fresh: bool = False
) -> tuple[Path, bool]:
    """Choose the run directory for a scan that names none; returns it and whether it goes on.

    The newest unfinished run in ``base`` of the same database and keys goes on, unless
    ``fresh``; else it is a new name ``<database>-<table>-<key>-<8 hex digits>``. Makes
    nothing. Raises what ``scan`` raises for the keys.
    """
    with connect(db).open() as session:
        resolved = resolve_all(session, keys)
        table = load_scanned(session, resolved)
        wanted = identify(read_server(session), table, resolved)
    if not fresh:
        for path in _newest_first(Path(base)):
            if _goes_on(path, wanted):
                return path, True
    parts = (wanted.server.database, table.name, resolved[0].name)
    name = "-".join(plain_name(part) for part in parts)
    return Path(base) / f"{name}-{secrets.token_hex(4)}", False


def plain_name(text: str) -> str:
    """Make a short file name of any text."""
    return re.sub(r"[^A-Za-z0-9_.]+", "_", text).strip("_.")[:60] or "x"


def own_name(text: str) -> str:
    """Make a short file name that no other text has, not even one that differs in case only.

    A short text of small letters, digits, ``-``, ``_`` and ``.`` is its own name.
    """
    if re.fullmatch(r"[a-z0-9][a-z0-9_.-]{0,59}", text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    # Other texts have no tilde.
    return f"{plain_name(text)}~{digest[:16]}"


def _newest_first(base: Path) -> list[Path]:
    try:
        states = [(path.stat().st_mtime, path.parent) for path in base.glob(f"*/{STATE_FILE}")]
    except OSError:
        return []
    return [directory for _, directory in sorted(states, reverse=True)]


def _goes_on(directory: Path, wanted: Identity) -> bool:
    """Tell whether a directory holds an unfinished run of the same work."""
    try:
        state = State.load(directory)
    except DedupeError:
        # Broken or of another version: it is told when it is named, not when it is passed by.
        return False
    try:
        if state.fact("phase") == RunStatus.FINISHED:
            return False
        known = Identity.from_facts(state.fact("identity"))
    finally:
        state.close()
    return (known.server, known.table_oid, known.keys) == (
        wanted.server,
        wanted.table_oid,
        wanted.keys,
    )


def _not_a_run(directory: Path) -> NotARunDirectory:
    return NotARunDirectory(
        f"{directory} is not a run directory of pgmend",
        hint="Name a path that does not exist yet, or the directory of an earlier run.",
        path=directory,
    )

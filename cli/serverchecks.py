"""From the command line to what is asked of a check of a server."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dedupe import plain_name
from dedupe.errors import UsageError
from migrations_check import Asked, unfinished_keys

from .config import Config
from .guarding import demand_of, guard_of
from .options import Connecting
from .output import note, one_line
from .runs import BASE

#: seconds between two lines of progress
_PAUSE = 10.0


def asked_of(config: Config, where: Connecting, given: dict[str, Any]) -> Asked:
    """Take a check's options out of a command's arguments. Raises UsageError."""
    guard = None
    if config.get("guard", "receipts", given["receipts"]) is not None:
        guard = guard_of(config, {"receipts": given["receipts"]})
    demand = demand_of(config, {"level": None, "max_age": None})
    quiet = given["quiet"]
    return Asked(
        to=given["to"],
        only=given["only"],
        quick=given["quick"],
        jobs=config.get("scan", "jobs", given["jobs"], 2),
        run=given["run"] or place_of(config, where, "check"),
        expected=given["expected"],
        new_bindir=_path(given["new_bindir"]),
        old_bindir=_path(given["old_bindir"]),
        guard=guard,
        demand=demand,
        told=teller(quiet=quiet),
    )


def _path(text: str | None) -> Path | None:
    if text is None:
        return None
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        raise UsageError(
            f"there is no directory {path}",
            hint="Name the one with pg_upgrade and initdb, as in -B /usr/lib/postgresql/18/bin.",
        )
    return path


def place_of(config: Config, where: Connecting, what: str) -> Path:
    """Choose the unfinished keys' directory of the same target, else a new one."""
    base = Path(config.get("scan", "runs", default=BASE))
    target = "\n".join(
        f"{name}={value}" for name, value in sorted(where.settings.items()) if name != "password"
    )
    name = f"{what}-{plain_name(where.settings.get('host', 'local'))}"
    name += f"-{hashlib.sha256(target.encode()).hexdigest()[:8]}"
    for known in sorted(base.glob(f"{name}-*")):
        if unfinished_keys(known):
            return known
    return base / f"{name}-{secrets.token_hex(4)}"


def teller(*, quiet: bool) -> Callable[[str], None]:
    """Return what tells of the progress, at most every ten seconds; quiet: nothing."""
    if quiet:
        return lambda _: None
    last = 0.0

    def tell(text: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _PAUSE:
            last = time.monotonic()
            note(one_line(text))

    return tell

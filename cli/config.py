"""Settings from a file: ``--config``, else ``$PGMEND_CONFIG``, else ``./pgmend.toml``.

The file holds tables named after what they set; a key that nobody reads is an
error, because a setting that is silently ignored is worse than none.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from dedupe.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])

#: Every key of every table, with the types its value may have.
KNOWN: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    "connection": {
        "dbname": (str,),
        "host": (str,),
        "port": (int, str),
        "user": (str,),
        "no_password": (bool,),
    },
    "scan": {
        "order": (str,),
        "memory": (str, int),
        "jobs": (int,),
        "nice": (float, int),
        "schema": (list, str),
        "runs": (str,),
    },
    "repair": {
        "nice": (float, int),
        "max_lag": (float, int),
        "triggers": (str,),
        "journal_schema": (str,),
    },
    "guard": {
        "receipts": (str,),
        "max_age": (str,),
        "bindir": (str,),
        "scratch": (str,),
        # Each is read by the provider that it configures.
        "providers": (dict,),
    },
    # Tables of {rule, object, reason}, read by the checks.
    "check": {"ignore": (list,)},
}

DEFAULT_FILE = "pgmend.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the settings file says; empty without one."""

    #: the file, or None
    path: Path | None = None
    #: table name to its settings
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def get(self, table: str, key: str, given: Any = None, default: Any = None) -> Any:
        """Return what the command line gave, else the file's value, else the default."""
        if given is not None and given != ():
            return given
        return self.tables.get(table, {}).get(key, default)

    @classmethod
    def load(cls, given: str | None) -> Config:
        """Read the settings file. Raises UsageError: unreadable, not TOML, unknown keys."""
        named = given or os.environ.get("PGMEND_CONFIG")
        path = Path(named or DEFAULT_FILE)
        if not named and not path.exists():
            return cls()
        tables = read_toml(
            path,
            "settings file",
            missing="Name another one with --config, or unset PGMEND_CONFIG.",
            malformed="See docs/quickstart.md, Settings file.",
        )
        _check(path, tables)
        return cls(path=path, tables=tables)


def read_toml(path: Path, what: str, *, missing: str, malformed: str) -> dict[str, Any]:
    """Read a TOML file; ``missing`` and ``malformed`` are hints. Raises UsageError."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the {what} {path}: {getattr(error, 'strerror', error)}", hint=missing
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}", hint=malformed) from error


def settings_option(command: F) -> F:
    """Add --config to a command, as behind ``pgmend``, and load the settings for it."""
    return click.option(
        "--config",
        metavar="FILE",
        help="Settings file; else $PGMEND_CONFIG, ./pgmend.toml.",
        expose_value=False,
        callback=_load,
    )(command)


def _load(context: click.Context, _: click.Parameter, given: str | None) -> None:
    before = context.obj
    if before and given and before != given:
        raise UsageError(
            f"two settings files: {before} and {given}", hint="Say --config once: drop one."
        )
    context.obj = Config.load(given or before)


def _check(path: Path, tables: Mapping[str, Any]) -> None:
    for name, table in tables.items():
        if name not in KNOWN or not isinstance(table, dict):
            raise unknown(path, name, list(KNOWN), "table")
        for key, value in table.items():
            if key not in KNOWN[name]:
                raise unknown(path, f"{name}.{key}", [f"{name}.{k}" for k in KNOWN[name]], "key")
            check_kind(path, f"{name}.{key}", value, KNOWN[name][key])


def check_kind(path: Path, name: str, value: object, kinds: tuple[type, ...]) -> None:
    """Raise UsageError unless ``value`` is of one of the types; a bool is no int."""
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise UsageError(f"{path}: {name} must be {wanted}, not {value!r}")


def unknown(path: Path, name: str, known: list[str], what: str) -> UsageError:
    """Make the error about a name in a file that nobody reads."""
    if "password" in name:
        hint = "Passwords belong into ~/.pgpass or PGPASSWORD."
    else:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"Did you mean {close[0]}?" if close else f"Known: {', '.join(known)}."
    return UsageError(f"{path} has an unknown {what}: {name}", hint=hint, path=path, name=name)

"""Settings of providers: checked on reading, and the way from a name to a provider.

A provider's module offers ``Settings``, a frozen msgspec struct that forbids unknown
fields, and ``open_provider(settings, access)``. A secret has no place in settings: they
hold the name of an environment variable (``…_env``) or of a file (``…_file``).
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import msgspec

from dedupe.errors import ProviderSettingsError

from .provider import Provider

#: kind of provider to the module that knows it
KINDS: Mapping[str, str] = {
    "pg_basebackup": ".providers.pg_basebackup",
    "pg_dump": ".providers.pg_dump",
    "digitalocean": ".providers.digitalocean",
    "command": ".providers.command",
}
_SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|(^|_)KEY", re.IGNORECASE)
#: the user part of a URL, and what is said to be a secret
_SECRET_TEXT = re.compile(
    r"(?<=://)[^/\s@]+(?=@)|(?:(?<=password)|(?<=passwd)|(?<=secret)|(?<=token))[\"']?[=:]\s*\S+",
    re.IGNORECASE,
)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a provider gets beside its settings."""

    #: as the settings file or the command line calls the provider
    name: str
    #: where PostgreSQL's programs are; None: to be found
    bindir: Path | None = None
    #: environment for programs that connect to the server; may hold a password
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ), repr=False)


class _Module(Protocol):
    Settings: type[msgspec.Struct]

    def open_provider(self, settings: Any, access: Access) -> Provider: ...


def open_provider(
    name: str,
    configured: Mapping[str, Mapping[str, Any]],
    *,
    to: str | None = None,
    kind: str | None = None,
    bindir: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> tuple[str, Provider]:
    """Return the kind and the provider of that name.

    ``configured`` are the tables under ``guard.providers``; a name that is not among them
    may be that of a kind, or ``kind`` says it. ``to`` wins over the settings' own.
    Raises ProviderSettingsError.
    """
    facts: dict[str, Any] = dict(configured.get(name) or {"kind": kind or name})
    found = facts.pop("kind", None)
    if found not in KINDS or not _NAME.fullmatch(name):
        known = ", ".join([*configured, *(k for k in KINDS if k not in configured)])
        raise _bad(name, f"there is no provider {name}" if name not in configured else
                   f"its kind {found!r} is not one of {', '.join(KINDS)}", f"Known: {known}.")
    if to is not None:
        facts["to"] = to
    module = cast("_Module", importlib.import_module(KINDS[found], __package__))
    try:
        settings = msgspec.convert(facts, module.Settings)
    except msgspec.ValidationError as error:
        said = re.sub(r"Object (missing required|contains unknown) field `(\w+)`",
                      r"\1 setting \2", str(error)).removesuffix(" - at `$`")
        raise _bad(
            name,
            said,
            f"Give --to DIR, or see [guard.providers.{name}] in docs/guards.md."
            if "to" in module.Settings.__struct_fields__
            else f"Write it under [guard.providers.{name}]; see docs/guards.md.",
        ) from error
    access = Access(name=name, bindir=bindir, **(
        {} if environment is None else {"environment": environment}
    ))
    return found, module.open_provider(settings, access)


def secret(provider: str, setting: str, *, env: str | None = None, file: str | None = None) -> str:
    """Read a secret from the environment variable or the file that settings name.

    Raises ProviderSettingsError, without the secret: none or both are named, it is not
    there or empty, or the file may be read by others.
    """
    if (env is None) == (file is None):
        raise _bad(provider, f"one of {setting}_env and {setting}_file has to be said",
                   f'Write {setting}_env = "NAME" or {setting}_file = "PATH".')
    if env is not None:
        value = os.environ.get(env, "").strip()
        if not value:
            raise _bad(provider, f"the environment variable {env} ({setting}_env) is not set",
                       f"Set {env}, or name another variable.")
        return value
    path = Path(cast("str", file)).expanduser()
    try:
        if path.stat().st_mode & 0o077:
            raise _bad(provider, f"{path} ({setting}_file) may be read by other users",
                       f"chmod 600 {path}")
        value = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise _bad(provider, f"{path} ({setting}_file) cannot be read: "
                   f"{getattr(error, 'strerror', 'not UTF-8')}", "Name another file.") from error
    if not value:
        raise _bad(provider, f"{path} ({setting}_file) is empty", "Write the secret into it.")
    return value


def harmless(text: str, environment: Mapping[str, str], secrets: Mapping[str, str]) -> str:
    """Blot out secrets in what a program said: known ones, and what looks like one."""
    looks = {v for n, v in environment.items() if _SECRET_NAME.search(n) and len(v) > len("key")}
    for value in sorted({*secrets.values(), *looks}, key=len, reverse=True):
        text = text.replace(value, "***")
    return _SECRET_TEXT.sub("***", text)


def _bad(provider: str, what: str, hint: str) -> ProviderSettingsError:
    return ProviderSettingsError(f"provider {provider}: {what}", hint=hint, provider=provider)

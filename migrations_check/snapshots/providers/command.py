"""Snapshots by any tool, through commands of the user's own or through a shipped preset.

A command is a program with its arguments, started without a shell. It gets JSON on its
standard input and answers in JSON (``contract``). What shell text needs is in environment
variables, so that nothing that a tool calls its snapshots is ever read as shell text.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from dedupe.errors import (
    DedupeError,
    ProgramMissing,
    ProviderFailed,
    ProviderSettingsError,
    RestoreByHand,
)

from .. import contract, presets, programs
from ..cluster import Cluster
from ..provider import Proof, Scratch, Snapshot, Step, Told
from ..settings import Access, secret

Argv = Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]
T = TypeVar("T")
E = TypeVar("E", bound=DedupeError)

_SECRET_NAME = re.compile(r"PASS|SECRET|TOKEN|CREDENTIAL|(^|_)KEY", re.IGNORECASE)
_SECRET_TEXT = re.compile(
    r"((?:pass\w*|secret\w*|token)['\"]?\s*[=:]\s*|://[^/\s:@]*:)[^\s@]+", re.IGNORECASE
)
#: what a shell, and every preset, ends with where a program is missing
_NOT_FOUND = 127


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings file: a preset with its target, or commands of one's own."""

    preset: str | None = None
    #: what the preset looks at: a stanza of pgBackRest, a server of Barman
    target: Annotated[str, Meta(pattern=r"^[^\s-]\S*$")] | None = None
    #: how the preset's program is called, such as sudo -u barman barman
    tool: Argv | None = None
    check: Argv | None = None
    take: Argv | None = None
    list: Argv | None = None
    verify: Argv | None = None
    restore: Argv | None = None
    delete: Argv | None = None
    #: lines of text; {id}, {place} and {data_directory} are filled in, quoted for a shell
    steps_back: tuple[str, ...] = ("# Restore {id} by its own tool: {place}",)
    #: seconds that one command may take
    time_limit: Annotated[float, Meta(gt=0)] = 86400.0
    #: environment variable of the commands to the file that holds its value
    secrets: dict[str, str] = {}


def open_provider(settings: Settings, access: Access) -> Command:
    """Return the provider. Raises ProviderSettingsError."""
    own: dict[str, Argv] = {
        action: argv for action in contract.ACTIONS if (argv := getattr(settings, action))
    }
    name, preset, target = access.name, settings.preset, settings.target
    absent = next((action for action in ("take", "list", "verify") if action not in own), None)
    wrong = {
        f"it has no preset, and no command to {absent}": not preset and absent,
        "it has no preset, to which target and tool belong": not preset
        and (target or settings.tool),
        f"there is no preset {preset} among {', '.join(presets.PRESETS)}": preset
        and preset not in presets.PRESETS,
        "its preset needs a target: a stanza of pgBackRest, a server of Barman": preset
        and not target,
        f"it has a preset, and a command to {next(iter(own), '')}": preset and own,
    }
    if said := [text for text, holds in wrong.items() if holds]:
        raise ProviderSettingsError(
            f"provider {name}: {said[0]}",
            hint=f"Correct [guard.providers.{name}]; see docs/guards/command.md.",
            provider=name,
        )
    secrets = {key: secret(name, key, file=path) for key, path in settings.secrets.items()}
    if preset and target:
        own, steps = presets.chosen(preset, target, settings.tool or (preset,))
        settings = msgspec.structs.replace(settings, steps_back=steps)
    return Command(settings, access, own, secrets)


class Command:
    """A provider whose every action is a command."""

    def __init__(
        self,
        settings: Settings,
        access: Access,
        commands: Mapping[str, tuple[str, ...]],
        secrets: Mapping[str, str],
    ) -> None:
        self.name = access.name
        self._settings = settings
        self._commands = commands
        self._environment = {**access.environment, **secrets}
        looks = {v for n, v in self._environment.items() if _SECRET_NAME.search(n) and len(v) > 3}
        self._hidden = sorted({*secrets.values(), *looks}, key=len, reverse=True)

    def lacks(self, cluster: Cluster) -> tuple[str, ...]:
        """Return what the command ``check`` answers; nothing where there is none."""
        if "check" not in self._commands:
            return ()
        return self._ask(contract.Lacks, "check", _quiet, cluster).lacks

    def take(self, cluster: Cluster, told: Told) -> Snapshot:
        """Run the command ``take``; what it took has to be complete."""
        took = self._ask(contract.Took, "take", told, cluster).snapshot
        if not took.complete:
            raise self._error(ProviderFailed, f"it took {took.id}, which is not complete")
        return self._sound(took)

    def list(self) -> tuple[Snapshot, ...]:
        """Run the command ``list``."""
        found = [self._sound(one) for one in self._ask(contract.Listed, "list", _quiet).snapshots]
        if len({one.id for one in found}) < len(found):
            raise self._error(ProviderFailed, "its command to list names a snapshot twice")
        return tuple(sorted(found, key=lambda one: one.taken_at))

    def inspect(self, snapshot: Snapshot, told: Told) -> Proof:
        """Run the command ``verify``, unless the list shows that there is nothing to look at."""
        now = next((one for one in self.list() if one.id == snapshot.id), None)
        if now is None or not now.complete:
            why = "is not there any more" if now is None else "is not complete"
            return Proof(passed=False, findings=(f"the snapshot {snapshot.id} {why}",))
        looked = self._ask(contract.Looked, "verify", told, snapshot)
        return Proof(passed=looked.passed, findings=looked.findings)

    def restore(self, snapshot: Snapshot, scratch: Scratch, told: Told) -> None:
        """Run the command ``restore``."""
        if "restore" not in self._commands:
            raise RestoreByHand(
                f"provider {self.name}: it has no command to restore",
                hint=f"Write one under [guard.providers.{self.name}]; docs/guards/command.md.",
                steps=self.steps_back(snapshot, None),
            )
        self._run("restore", told, snapshot, scratch)

    def steps_back(self, snapshot: Snapshot, cluster: Cluster | None) -> tuple[str, ...]:
        """Fill in the lines of the settings, or the preset's."""
        where = cluster.data_directory if cluster else None
        known = {"{id}": snapshot.id, "{place}": snapshot.place,
                 "{data_directory}": str(where or "DATA_DIRECTORY")}
        return tuple(
            re.sub("|".join(known), lambda found: shlex.quote(known[found[0]]), line)
            for line in self._settings.steps_back
        )

    def delete(self, snapshot: Snapshot) -> None:
        """Run the command ``delete``."""
        self._run("delete", _quiet, snapshot)

    def _sound(self, one: Snapshot) -> Snapshot:
        # Ids become arguments of programs; a moment without a zone is any of two dozen.
        if not re.fullmatch(r"[^\s-]\S*", one.id) or one.taken_at.tzinfo is None:
            raise self._error(ProviderFailed, "it names a snapshot by an id that is empty, begins"
                              f" with - or has spaces, or without a time zone: {one.id}")
        return one

    def _ask(self, kind: type[T], action: contract.Action, told: Told, *about: Any) -> T:
        answer = self._run(action, told, *about)
        try:
            # Not strict: numbers of 64 bits come as text, moments as seconds since 1970, too.
            return msgspec.json.decode(answer, type=kind, strict=False)
        except msgspec.DecodeError as error:
            raise self._error(
                ProviderFailed, f"its command to {action} answers what is not contract 1: {error}"
            ) from error

    def _run(self, action: contract.Action, told: Told, *about: Any) -> str:
        argv = self._commands.get(action)
        if argv is None:
            raise self._error(ProviderSettingsError, f"it has no command to {action}")
        asked = contract.Asked.of(action, *about)
        told(Step(doing=f"{action} by {self.name}"))
        try:
            return programs.run(
                argv, provider=self.name, limit=self._settings.time_limit,
                given=msgspec.json.encode(asked).decode(),
                env={**self._environment, **asked.variables()},
            )
        except (ProgramMissing, ProviderFailed) as error:
            missing = isinstance(error, ProgramMissing) or error.facts["code"] == _NOT_FOUND
            raise self._error(
                ProgramMissing if missing else ProviderFailed,
                f"its command to {action}: {error.message}", program=argv[0],
            ) from None  # the message of the cause may hold a secret

    def _error(self, kind: type[E], why: str, **facts: object) -> E:
        for value in self._hidden:
            why = why.replace(value, "***")
        why = _SECRET_TEXT.sub(r"\1***", why)
        return kind(
            f"provider {self.name}: {why}",
            hint=f"Mend that, or correct [guard.providers.{self.name}];"
            " see docs/guards/command.md.",
            provider=self.name, **facts,
        )


def _quiet(_: Step) -> None:
    pass

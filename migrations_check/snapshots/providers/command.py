"""Snapshots by any tool, through commands of the user's own or through a shipped preset.

A command is a program with its arguments, started without a shell. It gets JSON on its
standard input and answers in JSON (``contract``). What shell text needs is in environment
variables, so that nothing that a tool calls its snapshots is ever read as shell text.
"""

from __future__ import annotations

import re
import shlex
from typing import TypeVar

import msgspec

from dedupe.errors import DedupeError, ProgramMissing, ProviderFailed, RestoreByHand

from .. import contract, presets, programs
from ..cluster import Cluster
from ..commands import Settings
from ..contract import About, Action
from ..datadir import start_options
from ..provider import Proof, Scratch, Snapshot, Step, Told
from ..settings import Access, harmless, secret

T = TypeVar("T")
E = TypeVar("E", bound=DedupeError)

#: what a shell, and every preset, ends with where a program is missing
_NOT_FOUND = 127


def open_provider(settings: Settings, access: Access) -> Command:
    """Return the provider. Raises ProviderSettingsError: a secret cannot be read."""
    return Command(settings, access)


class Command:
    """A provider whose every action is a command."""

    def __init__(self, settings: Settings, access: Access) -> None:
        self.name = access.name
        self._limit = settings.time_limit
        steps: tuple[str, ...] = ("# Restore {id} by its own tool: {place}",)
        self._commands = {name: getattr(settings, name) for name in contract.ACTIONS}
        if settings.preset and settings.target:
            tool = settings.tool or (settings.preset,)
            argv, steps = presets.chosen(settings.preset, settings.target, tool)
            self._commands = dict.fromkeys(contract.ACTIONS, argv)
        self._steps = settings.steps_back or steps
        self._secrets = {n: secret(self.name, n, file=path) for n, path in settings.secrets.items()}
        self._environment = {**access.environment, **self._secrets}

    def lacks(self, cluster: Cluster) -> tuple[str, ...]:
        """Return what the command ``check`` answers; nothing where there is none."""
        if not self._commands["check"]:
            return ()
        return self._ask(contract.Lacks, "check", _quiet, cluster).lacks

    def take(self, cluster: Cluster, told: Told) -> Snapshot:
        """Run the command ``take``."""
        return self._sound(self._ask(contract.Took, "take", told, cluster).snapshot)

    def list(self) -> tuple[Snapshot, ...]:
        """Run the command ``list``."""
        found = [self._sound(one) for one in self._ask(contract.Listed, "list", _quiet).snapshots]
        if len({one.id for one in found}) < len(found):
            raise self._error(ProviderFailed, "its command to list names a snapshot twice")
        return tuple(sorted(found, key=lambda one: one.taken_at))

    def inspect(self, snapshot: Snapshot, told: Told) -> Proof:
        """Run the command ``verify``, if the snapshot is there."""
        if snapshot.id not in {one.id for one in self.list()}:
            return Proof(passed=False, findings=(f"the snapshot {snapshot.id} is gone",))
        looked = self._ask(contract.Looked, "verify", told, snapshot)
        return Proof(passed=looked.passed, findings=looked.findings)

    def restore(self, snapshot: Snapshot, scratch: Scratch, told: Told) -> None:
        """Run the command ``restore``."""
        if not self._commands["restore"]:
            steps = self.steps_back(snapshot, None)
            raise self._error(RestoreByHand, "it has no command to restore", steps=steps)
        self._run("restore", told, snapshot, scratch)

    def steps_back(self, snapshot: Snapshot, cluster: Cluster | None) -> tuple[str, ...]:
        """Fill in the lines of the settings, or the preset's."""
        there = cluster and cluster.data_directory
        data = str(there or "DATA_DIRECTORY")
        known = {"{id}": snapshot.id, "{place}": snapshot.place, "{data_directory}": data}
        quoted = {name: shlex.quote(value) for name, value in known.items()}
        # Words of a shell already, or nothing.
        quoted["{options}"] = start_options(there) if there else ""
        return tuple(presets.filled(line, quoted) for line in self._steps)

    def delete(self, snapshot: Snapshot) -> None:
        """Run the command ``delete``."""
        self._run("delete", _quiet, snapshot)

    def _sound(self, one: Snapshot) -> Snapshot:
        # Ids become arguments of programs; a moment without a zone is any of two dozen.
        if not re.fullmatch(r"[^\s-]\S*", one.id) or one.taken_at.tzinfo is None:
            raise self._error(ProviderFailed, f"of the snapshot {one.id!r} the time has no zone, or"
                              " the id is empty, begins with - or has spaces")
        return one

    def _ask(self, kind: type[T], action: Action, told: Told, *about: About) -> T:
        answer = self._run(action, told, *about)
        try:
            # Not strict: numbers of 64 bits come as text, moments as seconds since 1970, too.
            return msgspec.json.decode(answer, type=kind, strict=False)
        except msgspec.DecodeError as error:
            why = f"its command to {action} answers what is not contract 1: {error}"
            raise self._error(ProviderFailed, why) from error

    def _run(self, action: Action, told: Told, *about: About) -> str:
        argv = self._commands[action]
        if not argv:
            raise self._error(ProviderFailed, f"it has no command to {action}")
        asked = contract.Asked.of(action, *about)
        told(Step(doing=f"{action} by {self.name}"))
        try:
            return programs.run(argv, provider=self.name, limit=self._limit, given=asked.text(),
                                env={**self._environment, **asked.variables()})
        except (ProgramMissing, ProviderFailed) as error:
            missing = isinstance(error, ProgramMissing) or error.code == _NOT_FOUND
            # Without its cause, whose message may hold a secret.
            raise self._error(ProgramMissing if missing else ProviderFailed,
                              f"its command to {action}: {error.message}",
                              program=argv[0]) from None

    def _error(self, kind: type[E], why: str, **facts: object) -> E:
        why = harmless(why, self._environment, self._secrets)
        hint = f"Mend that, or [guard.providers.{self.name}]; see docs/guards/command.md."
        return kind(f"provider {self.name}: {why}", hint=hint, provider=self.name, **facts)


def _quiet(_: Step) -> None:
    pass

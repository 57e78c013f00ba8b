"""What passes between pgmend and a command that takes snapshots: JSON, version 1.

The command reads one object (``Asked``) from its standard input and, where there is
something to answer, writes one to its standard output. docs/guards/command.md describes
both for those who write such a command; the shipped presets speak it through this module.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, get_args

import msgspec

from .cluster import Cluster
from .provider import Scratch, Snapshot

Action: TypeAlias = Literal["check", "take", "list", "verify", "restore", "delete"]
ACTIONS: tuple[Action, ...] = get_args(Action)
About: TypeAlias = Cluster | Snapshot | Scratch


class _Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    contract: Literal[1]


class Asked(_Message, frozen=True):
    """What is wanted, with what it is about: ``cluster``, ``snapshot``, ``scratch``."""

    action: Action
    cluster: dict[str, Any] = {}
    snapshot: dict[str, Any] = {}
    scratch: dict[str, Any] = {}

    @classmethod
    def of(cls, action: Action, *about: About) -> Asked:
        """Ask for an action."""
        parts: dict[str, Any] = {}
        for one in about:
            if isinstance(one, Cluster | Snapshot):
                facts = msgspec.to_builtins(one, enc_hook=str)
                # Of 64 bits, and many readers of JSON round numbers of more than 53.
                number = facts["system_identifier"]
                facts["system_identifier"] = None if number is None else str(number)
                parts["cluster" if isinstance(one, Cluster) else "snapshot"] = facts
            else:
                names = ("data", "directory", "bindir")
                parts["scratch"] = {name: str(getattr(one, name)) for name in names}
        return cls(contract=1, action=action, **parts)

    def text(self) -> str:
        """Write it down."""
        return msgspec.json.encode(self).decode()

    def variables(self) -> dict[str, str]:
        """Return the texts and numbers in it as PGMEND_SNAPSHOT_ID and so on."""
        return {
            f"PGMEND_{part}_{name}".upper(): str(value)
            for part in ("cluster", "snapshot", "scratch")
            for name, value in getattr(self, part).items()
            if isinstance(value, str | int)
        }


class Lacks(_Message, frozen=True):
    """Answer to ``check``: what a snapshot would not cover, a sentence each."""

    lacks: tuple[str, ...]


class Took(_Message, frozen=True):
    """Answer to ``take``."""

    snapshot: Snapshot


class Listed(_Message, frozen=True):
    """Answer to ``list``."""

    snapshots: tuple[Snapshot, ...]


class Looked(_Message, frozen=True):
    """Answer to ``verify``: what was looked at and how, the failures first."""

    passed: bool
    findings: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]

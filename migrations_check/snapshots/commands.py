"""What the settings file says of commands that take snapshots: a preset, or one's own."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from .contract import ACTIONS

Argv: TypeAlias = Annotated[
    tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)
]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings file: a preset with its target, or commands of one's own."""

    preset: Literal["pgbackrest", "barman"] | None = None
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
    #: lines of text; {id}, {place} and {data_directory} are filled in, quoted for a shell, and
    #: {options}, what pg_ctl start has to be told besides
    steps_back: tuple[str, ...] | None = None
    #: seconds that one command may take
    time_limit: Annotated[float, Meta(gt=0)] = 86400.0
    #: environment variable of the commands to the file that holds its value
    secrets: dict[str, str] = {}

    def __post_init__(self) -> None:
        own = {name for name in ACTIONS if getattr(self, name)}
        if self.preset and (own or not self.target):
            raise ValueError("beside a preset stands its target, and no command")
        if not self.preset and (self.target or self.tool or not own >= {"take", "list", "verify"}):
            raise ValueError("commands to take, list and verify are needed, or a preset")

"""Presets: tools that are known so well that naming their target is enough.

A preset is a module that is run as a program and speaks the contract of commands like
anybody's own (``adapter`` is what they share), and the facts below.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping

_BEFORE = (
    "# Stop the application first. What the server holds now stays aside.",
    "{owner}pg_ctl stop --wait --mode fast --pgdata {data_directory}",
    "mv -T {data_directory} {data_directory}.before-{id}",
    "mkdir -m 700 {data_directory}",
    "chown --reference={data_directory}.before-{id} {data_directory}",
)
_START = (
    "{owner}pg_ctl start --wait --log {data_directory}/started.log"
    " --pgdata {data_directory}{options}"
)
_AFTER = (
    "chown -R --reference={data_directory}.before-{id} {data_directory}",
    _START,
    "# It is on a new timeline: take a new snapshot once all is well.",
)

#: a tool to the way back to one of its snapshots, which the account goes that runs pgmend
PRESETS: Mapping[str, tuple[str, ...]] = {
    "pgbackrest": (
        *_BEFORE,
        "{tool} --stanza={target} --set={id} --type=immediate --target-action=promote restore",
        *_AFTER,
    ),
    "barman": (
        *_BEFORE,
        "{tool} recover --target-immediate --target-action promote {target} {id} {data_directory}",
        *_AFTER,
    ),
}


def chosen(
    preset: str, target: str, tool: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the command of a preset, the same for every action, and its lines of the way back."""
    # -P: a directory that happens to be the current one lends no modules.
    argv = (sys.executable, "-P", "-m", f"{__name__}.{preset}", target, *tool)
    # pg_ctl does not run as root.
    owner = 'runuser -u "$(stat -c %U {data_directory})" -- ' * (os.geteuid() == 0)
    told = {"{target}": shlex.quote(target), "{tool}": shlex.join(tool), "{owner}": owner}
    return argv, tuple(filled(line, told) for line in PRESETS[preset])


def filled(line: str, known: Mapping[str, str]) -> str:
    """Put values in the place of their names; what is put in is not looked at again."""
    return re.sub("|".join(known), lambda found: known[found[0]], line)

"""pgmend's library: find every row that violates a unique key, whatever its index says.

::

    from dedupe import MatchKey, connect, scan

    run = scan(connect("postgresql://…"), MatchKey.from_index("users_email"), run="users-email")
    for group in run.groups():
        print(group.number, [member.ctid for member in group.members])

It prints nothing, changes no signal handler or logger, leaves no thread, and raises
``DedupeError`` alone.
"""

from __future__ import annotations

from .connect import Connectable, Database, Target, connect
from .errors import DedupeError
from .groups import Group, Member, Members
from .key import KeyPart, MatchKey
from .progress import Progress, RunStatus
from .scan.directory import default_run_directory, plain_name
from .scan.directory import empty as empty_run_directory
from .scan.keys import unique_keys, usable_keys
from .scan.owner import is_owned as is_owned_directory
from .scan.owner import owned as owned_directory
from .scan.run import KeyResult, Run, Unreadable
from .scan.scanner import scan
from .session import Session

__all__ = [
    "Connectable",
    "Database",
    "DedupeError",
    "Group",
    "KeyPart",
    "KeyResult",
    "MatchKey",
    "Member",
    "Members",
    "Progress",
    "Run",
    "RunStatus",
    "Session",
    "Target",
    "Unreadable",
    "connect",
    "default_run_directory",
    "empty_run_directory",
    "is_owned_directory",
    "owned_directory",
    "plain_name",
    "scan",
    "unique_keys",
    "usable_keys",
]

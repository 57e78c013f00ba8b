"""The exit codes of every command, and which error ends in which."""

from __future__ import annotations

import enum

from dedupe import errors


class ExitCode(enum.IntEnum):
    """What a command's exit code says; documented in docs/output.md."""

    #: done: nothing found, or shown as asked
    OK = 0
    #: done: findings exist; only from commands that look for them
    FOUND = 1
    #: usage or configuration: asking again in the same way changes nothing
    USAGE = 2
    #: stopped by SIGINT, SIGTERM or another process; can go on
    STOPPED = 3
    #: refused, because it would not be safe or would answer wrongly
    REFUSED = 4
    #: the server, a disk, the network, or something unforeseen failed
    FAILURE = 5


def code_of(error: Exception) -> ExitCode:
    """Return the exit code of one of the library's errors."""
    if isinstance(error, errors.UsageError):
        return ExitCode.USAGE
    if isinstance(error, errors.RefusedError):
        return ExitCode.REFUSED
    if isinstance(error, errors.Stopped):
        return ExitCode.STOPPED
    return ExitCode.FAILURE

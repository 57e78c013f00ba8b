"""What the presets share: one action, asked on standard input and answered on standard output.

Arguments are the target and the tool's program with its options. What fails is said on
standard error, and the exit code is 1, or 127 where a program is missing.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import msgspec

from dedupe.errors import DedupeError, ProgramMissing, ProviderFailed

from .. import programs
from ..contract import Action, Asked

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """The tool, and the target that all is about."""

    target: str
    argv: tuple[str, ...]

    def run(self, *arguments: str) -> str:
        """Run one of its commands and return its output; raises what ``programs.run`` raises."""
        return programs.run((*self.argv, *arguments), provider=self.argv[0], said=_tell)

    def read(self, kind: type[T], *arguments: str) -> T:
        """Run one of its commands that answers in JSON; raises ProviderFailed, too."""
        try:
            return msgspec.json.decode(self.run(*arguments), type=kind)
        except msgspec.DecodeError as error:
            raise ProviderFailed(
                f"{self.argv[0]} {arguments[0]} did not answer as it is known to: {error}"
            ) from error


Actions: TypeAlias = Mapping[Action, Callable[[Tool, Asked], msgspec.Struct | None]]


def serve(actions: Actions, *, options: tuple[str, ...] = ()) -> None:
    """Carry out what is asked; ``options`` ({target} filled in) go before each of the tool's.

    Ends the process where that fails.
    """
    # Ended on purpose it unwinds, and takes the tool with it.
    signal.signal(signal.SIGTERM, _end)
    try:
        asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Asked)
        target, *argv = sys.argv[1:]
        argv += [one.format(target=target) for one in options]
        answer = actions[asked.action](Tool(target=target, argv=tuple(argv)), asked)
    except msgspec.DecodeError as error:
        sys.exit(f"the question is not of contract 1: {error}")
    except DedupeError as error:
        _tell(error.message)
        sys.exit(127 if isinstance(error, ProgramMissing) else 1)
    if answer is not None:
        sys.stdout.buffer.write(msgspec.json.encode(answer))


def segments(first: str, last: str, each: int) -> list[str]:
    """Name the segments of the write-ahead log between two; ``each`` is their size in bytes.

    Source: XLogFileName in access/xlog_internal.h.
    """
    of_id = (1 << 32) // each
    begin, end = (int(name[8:16], 16) * of_id + int(name[16:24], 16) for name in (first, last))
    return [f"{first[:8]}{n // of_id:08X}{n % of_id:08X}" for n in range(begin, end + 1)]


def _end(number: int, _: Any) -> None:
    sys.exit(128 + number)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()

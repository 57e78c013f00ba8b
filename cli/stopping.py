"""SIGINT and SIGTERM: the first asks for a stop at a safe point, the second ends at once.

Only the command installs handlers; the library knows ``Run.stop``, events to be set, and
no signals. Here is also how the command that goes on is written.
"""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """A context in which the two signals stop the work that ``watch`` was told of.

    While none is told, there is nothing that a safe point could keep: a signal is then
    a KeyboardInterrupt at once, like a second one.
    """

    def __init__(self) -> None:
        #: a stop was asked for
        self.wanted = False
        #: it was asked for once more, while the work was on its way to a safe point
        self.let_go = False
        self._ask: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        self._before = [(number, signal.signal(number, self._stop)) for number in _SIGNALS]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)

    def watch(self, ask: Callable[[], None]) -> None:
        """Take what asks the work that is going on to stop."""
        self._ask = ask

    def forget(self) -> None:
        """Let go of it: the work is over, and what comes then need not be waited for."""
        self._ask = None

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        ask = self._ask
        if self.wanted:
            # Asked twice: let go now, and let a third signal end the process itself.
            self.let_go = ask is not None
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            raise KeyboardInterrupt
        self.wanted = True
        if ask is None:
            raise KeyboardInterrupt
        # In a thread, because the interrupted code may hold the lock that the stop needs.
        threading.Thread(target=ask, daemon=True).start()


def same_command(arguments: Sequence[str]) -> list[str]:
    """Write a command line's words once more; a password in them is left out."""
    return ["pgmend", *map(_without_password, arguments)]


def _without_password(word: str) -> str:
    shown = re.sub(r"(://[^:/@\s]*):[^/\s]*@", r"\1@", word)
    return re.sub(r"password\s*=\s*('([^'\\]|\\.)*'|[^\s&]*)&?", "", shown).strip()

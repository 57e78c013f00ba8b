"""SIGINT and SIGTERM: the first asks for a stop at a safe point, the second ends at once.

Only the command installs handlers; the library knows ``Run.stop`` and no signals.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from dedupe import Run

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """A context in which the two signals stop the scan that ``watch`` was told of."""

    def __init__(self) -> None:
        #: a stop was asked for
        self.wanted = False
        self._scanning = False
        self._run: Run | None = None

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

    def begin(self) -> None:
        """From here on a first signal waits for the run instead of raising."""
        self._scanning = True
        self._run = None

    def watch(self, run: Run) -> None:
        """Take the live run; stops it if a signal came before it was known."""
        if run is not self._run:
            self._run = run
            if self.wanted:
                run.stop()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if self.wanted:
            # Asked twice: let go now, and let a third signal end the process itself.
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            raise KeyboardInterrupt
        self.wanted = True
        if not self._scanning:
            raise KeyboardInterrupt
        if self._run is not None:
            # In a thread, because the interrupted code may hold the lock that stop() needs.
            threading.Thread(target=self._run.stop, daemon=True).start()

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
    """A context in which the two signals stop the scan that ``watch`` was told of.

    While none is told, there is nothing that a safe point could keep: a signal is then
    a KeyboardInterrupt at once, like a second one.
    """

    def __init__(self) -> None:
        #: a stop was asked for
        self.wanted = False
        #: it was asked for once more, while the scan was on its way to a safe point
        self.let_go = False
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

    def watch(self, run: Run) -> None:
        """Take the live run of the scan that is going on."""
        self._run = run

    def forget(self) -> None:
        """Let go of the run: its scan is over, and what comes then need not be waited for."""
        self._run = None

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        run = self._run
        if self.wanted:
            # Asked twice: let go now, and let a third signal end the process itself.
            self.let_go = run is not None
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            raise KeyboardInterrupt
        self.wanted = True
        if run is None:
            raise KeyboardInterrupt
        # In a thread, because the interrupted code may hold the lock that stop() needs.
        threading.Thread(target=run.stop, daemon=True).start()

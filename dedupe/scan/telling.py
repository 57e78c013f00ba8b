"""Telling: from what the scan counts to progress events, at most about ten a second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from ..progress import Estimate, Progress, RunStatus
from .run import Run
from .tally import Tally

#: seconds between two events
_EVERY = 0.1
class OnProgress(Protocol):
    """What takes the progress of a scan; called in the thread that called ``scan``."""

    def __call__(self, event: Progress, /) -> object:
        """Take one event."""
        ...


class Teller:
    """Makes progress events of a tally; messages may come from any thread."""

    def __init__(self, run: Run, tally: Tally, on_progress: OnProgress | None) -> None:
        self._run = run
        self._tally = tally
        self._on_progress = on_progress
        self._estimate = Estimate()
        self._last = 0.0
        self._messages: deque[str] = deque()

    def tell(self, message: str) -> None:
        """Keep a message for the next event; callable from any thread."""
        self._messages.append(message)

    def messages(self) -> Iterator[str]:
        """Take the messages that came since the last call, and show each."""
        while self._messages:
            message = self._messages.popleft()
            self._show(None, message)
            yield message

    def tick(self, waiting: str | None = None, *, now: bool = False) -> None:
        """Show where the scan is, unless that was just done."""
        if now or time.monotonic() - self._last >= _EVERY:
            self._show(waiting, None)

    def _show(self, waiting: str | None, message: str | None) -> None:
        tally, seconds = self._tally, self._tally.seconds
        self._last = time.monotonic()
        left = self._estimate.left(seconds, tally.fraction)
        if self._on_progress is None:
            return
        swept = tally.sweep_blocks if tally.phase is not RunStatus.SCANNING else 0
        if tally.phase in (RunStatus.CONFIRMING, RunStatus.FINISHED):
            swept = tally.blocks
        self._on_progress(
            Progress(
                run=self._run,
                phase=tally.phase,
                fraction=tally.fraction,
                rows=sum(rows for rows, _ in tally.rows()),
                blocks_done=min(tally.main_blocks, tally.blocks) + min(swept, tally.blocks),
                blocks_total=2 * tally.blocks,
                groups=tally.groups,
                bytes_spilled=tally.spilled,
                seconds=seconds,
                eta_seconds=0.0 if tally.phase is RunStatus.FINISHED else left,
                waiting=waiting,
                message=message,
            )
        )

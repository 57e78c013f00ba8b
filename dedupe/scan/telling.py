"""Telling: from what the scan counts to progress events, at most about ten a second."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..progress import Estimate, Progress, RunStatus
from .run import Run

#: seconds between two events
_EVERY = 0.1
#: how the work divides over the phases where nothing better is known: the sweep only
#: filters, and candidates are few. Each share is multiplied by the part of the phase done.
_SHARES = {RunStatus.SCANNING: 0.78, RunStatus.SWEEPING: 0.17, RunStatus.CONFIRMING: 0.05}


class OnProgress(Protocol):
    """What takes the progress of a scan; called in the thread that called ``scan``."""

    def __call__(self, event: Progress, /) -> object:
        """Take one event."""
        ...


@dataclass(slots=True)
class Tally:
    """What has been done; changed by the thread that called ``scan`` alone."""

    phase: RunStatus
    #: heap blocks of the table when this session began
    blocks: int
    #: blocks read in the main pass and in the sweep
    main_blocks: int = 0
    sweep_blocks: int = 0
    #: of each key: rows that take part and rows left out, main pass and sweep
    main_rows: list[list[int]] = field(default_factory=list)
    sweep_rows: list[list[int]] = field(default_factory=list)
    #: share of the walk that is done
    walked: float = 0.0
    groups: int = 0
    spilled: int = 0
    #: seconds of work before this session, and those of all sweeps
    seconds_before: float = 0.0
    sweep_seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds of work, all sessions together."""
        return self.seconds_before + time.monotonic() - self.started

    @property
    def fraction(self) -> float:
        """Share of the whole work that is done."""
        if self.phase is RunStatus.FINISHED:
            return 1.0
        size = max(1, self.blocks)
        done = {
            RunStatus.SCANNING: self.main_blocks / size,
            RunStatus.SWEEPING: self.sweep_blocks / size,
            RunStatus.CONFIRMING: self.walked,
        }
        whole = 0.0
        for phase, share in _SHARES.items():
            if phase is self.phase:
                return whole + share * min(1.0, done[phase])
            whole += share
        return whole

    def rows(self) -> list[tuple[int, int]]:
        """Return, of each key, rows that take part and rows left out."""
        return [
            (main[0] + sweep[0], main[1] + sweep[1])
            for main, sweep in zip(self.main_rows, self.sweep_rows, strict=True)
        ]


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


def zeros(keys: Sequence[object]) -> list[list[int]]:
    """Return a pair of zeros for each key."""
    return [[0, 0] for _ in keys]

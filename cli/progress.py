"""Progress on stderr: a bar where a person watches, dated lines elsewhere, or nothing."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

from tqdm import tqdm

from dedupe import Progress, RepairProgress

from .output import counted, note, one_line

#: seconds between two plain lines of one phase
_LINE_SECONDS = 10.0
_LINE_SECONDS_VERBOSE = 1.0


class Show(Protocol):
    """Shows one event of some work, or of a part of it that has a name."""

    def __call__(self, event: Progress | RepairProgress, part: str = "", /) -> None:
        """Show it."""


class Reporter:
    """Shows the progress of one piece of work; a context manager that clears up after itself."""

    def __init__(self, label: str, *, quiet: bool, verbose: bool) -> None:
        self._whole = self._label = one_line(label)
        self._quiet = quiet
        self._pause = _LINE_SECONDS_VERBOSE if verbose else _LINE_SECONDS
        self._bar: tqdm[Any] | None = None
        #: by label: the phase of its last line, what was waited for, and when that was
        self._lines: dict[str, tuple[str, str | None, float]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, event: Progress | RepairProgress, part: str = "", /) -> None:
        """Show one event of the work, or of a part of it."""
        if self._quiet:
            return
        self._label = f"{self._whole}, {one_line(part)}" if part else self._whole
        try:
            if event.message is not None:
                self.tell(event.message)
            if _room_for_a_bar():
                self._show_bar(event)
            else:
                self._show_line(event)
        except OSError:
            # The terminal went away; the work is worth more than its bar.
            self._quiet, self._bar = True, None

    def tell(self, message: str) -> None:
        """Print a message between the lines of the progress."""
        if self._quiet:
            return
        line = one_line(message)
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            note(line if sys.stderr.isatty() else f"{_now()} {line}")

    def _show_bar(self, event: Progress | RepairProgress) -> None:
        if self._bar is None:
            # No thread of tqdm's own: the events come often enough.
            tqdm.monitor_interval = 0
            self._bar = tqdm(
                total=1.0,
                file=sys.stderr,
                dynamic_ncols=True,
                mininterval=0.0,
                miniters=0,
                desc=self._label,
                bar_format="{desc} {percentage:3.0f}%|{bar}|",
            )
        self._bar.n = event.fraction
        self._bar.set_description_str(f"{self._label}: {event.waiting or event.phase}", False)
        left = f", {_duration(event.eta_seconds)} left" if event.eta_seconds else ""
        # A postfix of tqdm's would begin with a comma.
        counts = f"{', '.join(_counts(event))}{left}"
        self._bar.bar_format = f"{{desc}} {{percentage:3.0f}}%|{{bar}}| {counts}"
        self._bar.refresh()

    def _show_line(self, event: Progress | RepairProgress) -> None:
        now = time.monotonic()
        phase, waiting, last = self._lines.get(self._label, ("", None, 0.0))
        if (phase, waiting) == (event.phase, event.waiting) and now - last < self._pause:
            return
        self._lines[self._label] = event.phase, event.waiting, now
        counts = _counts(event)
        share = [f"{event.fraction:.0%}"] if counts or event.fraction else []
        parts = [event.phase, *share, *counts]
        if event.eta_seconds:
            parts.append(f"about {_duration(event.eta_seconds)} left")
        if event.waiting:
            parts.append(f"waiting: {one_line(event.waiting)}")
        note(f"{_now()} {self._label}: {', '.join(parts)}")


def _room_for_a_bar() -> bool:
    """Tell whether stderr is a terminal that knows its size; some containers' do not."""
    if not sys.stderr.isatty():
        return False
    try:
        columns, lines = os.get_terminal_size(sys.stderr.fileno())
    except OSError:
        return False
    return columns > 0 and lines > 0


def _counts(event: Progress | RepairProgress) -> list[str]:
    """Say how much is done; nothing in a phase that does not count."""
    if isinstance(event, Progress):
        return [counted(event.rows, "row"), counted(event.groups, "group")]
    if not event.groups_total:
        return []
    # An undo goes by rows.
    unit = "row" if event.phase == "undoing" else "group"
    return [f"{event.groups_done:,} of {counted(event.groups_total, unit)}"]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"

"""Progress of a repair, told to whoever listens, and the wish to stop, heard between steps."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..errors import RepairStopped
from ..progress import Estimate, Progress, RepairProgress

OnRepairProgress = Callable[[RepairProgress], None]
_EVERY = 0.1


def stopped() -> RepairStopped:
    """Return the error of work that was asked to stop."""
    return RepairStopped(
        "stopped at a safe point, as asked",
        hint="Give the same command again: it goes on where it stopped.",
    )


class Telling:
    """Knows where the work is, and whether it shall stop."""

    def __init__(self, listener: OnRepairProgress | None, stop: threading.Event | None) -> None:
        self._listener = listener
        self._stop = stop
        self._started = time.monotonic()
        self._last = 0.0
        self._phase, self._done, self._total = "preparing", 0, 0
        self._share = 0.0
        self._estimate = Estimate()

    @property
    def seconds(self) -> float:
        """Seconds since the work began."""
        return time.monotonic() - self._started

    def phase(self, name: str, total: int = 0, done: int = 0) -> None:
        """Begin a phase."""
        self._phase, self._total, self._done = name, total, done
        self._share = 0.0
        self._estimate = Estimate()
        self._tell()

    def did(self, groups: int) -> None:
        """Count groups that are done."""
        self._done += groups
        if time.monotonic() - self._last > _EVERY:
            self._tell()

    def share(self, fraction: float) -> None:
        """Say how much of a phase is done that does not count groups."""
        self._share = fraction
        if time.monotonic() - self._last > _EVERY:
            self._tell()

    def follow(self, event: Progress) -> None:
        """Tell how far a scan is that is a phase of this work, and hand on the wish to stop."""
        self.share(event.fraction)
        if self.stopping:
            event.run.stop()

    def say(self, message: str) -> None:
        """Tell something once."""
        self._tell(message=message)

    def wait(self, seconds: float, why: str) -> None:
        """Wait with the reason shown; raises RepairStopped as soon as that is asked for."""
        self._tell(waiting=why)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check_stop()
            time.sleep(min(left, 0.1))

    def check_stop(self) -> None:
        """Raise RepairStopped if that was asked for."""
        if self._stop is not None and self._stop.is_set():
            raise stopped()

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stop is not None and self._stop.is_set()

    def _tell(self, *, waiting: str | None = None, message: str | None = None) -> None:
        self._last = time.monotonic()
        fraction = self._done / self._total if self._total else self._share
        left = self._estimate.left(self.seconds, fraction)
        if self._listener is not None:
            self._listener(
                RepairProgress(
                    phase=self._phase,
                    fraction=fraction,
                    groups_done=self._done,
                    groups_total=self._total,
                    seconds=self.seconds,
                    eta_seconds=left,
                    waiting=waiting,
                    message=message,
                )
            )

"""Ahead: the slices of a walk are made in threads, while others are worked on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from .spill import Words

#: share of the walk that is done, digests, addresses
Slice = tuple[float, Words, Words]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A stretch of buckets that one thread reads at a time."""

    #: makes its slices
    slices: Iterator[Slice]
    #: whether there may be more than one
    several: bool


class Ahead:
    """Makes the slices of stretches in threads, ahead of who works on them, in their order.

    While more than ``most`` records wait to be worked on, no further stretch is begun.
    """

    def __init__(
        self, pool: ThreadPoolExecutor, stretches: Iterator[Stretch], threads: int, most: int
    ) -> None:
        self._pool = pool
        self._stretches = stretches
        self._threads = threads
        self._most = most
        self._turn = threading.Lock()
        self._coming: deque[tuple[Stretch, Future[Slice | None]]] = deque()
        self._running = 0
        self._waiting = 0
        self._ended = False
        self._error: BaseException | None = None

    def slices(self) -> Iterator[Slice]:
        """Yield all slices."""
        self._begin()
        while self._coming:
            stretch, future = self._coming.popleft()
            made = future.result()
            if made is not None:
                with self._turn:
                    self._waiting -= len(made[1])
            self._begin()
            while made is not None:
                coming = self._next(stretch) if stretch.several else None
                yield made
                # Let go of it before the one after next is made.
                del made
                made = coming.result() if coming else None
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Begin nothing any more."""
        with self._turn:
            self._ended = True

    def _next(self, stretch: Stretch) -> Future[Slice | None]:
        return self._pool.submit(next, stretch.slices, None)

    def _begin(self) -> None:
        """Begin the next stretches, as many as there are threads and memory for."""
        with self._turn:
            while (
                self._running < self._threads
                and self._waiting <= self._most
                and not self._ended
                and self._error is None
            ):
                try:
                    stretch = next(self._stretches, None)
                except BaseException as error:  # noqa: BLE001 -- raised where slices are wanted
                    self._error = error
                    return
                if stretch is None:
                    return
                self._running += 1
                self._coming.append((stretch, self._pool.submit(self._first, stretch)))

    def _first(self, stretch: Stretch) -> Slice | None:
        """Make the first slice of a stretch, and begin another before this one is told."""
        made = None
        try:
            made = next(stretch.slices, None)
            return made
        finally:
            with self._turn:
                self._running -= 1
                self._waiting += len(made[1]) if made is not None else 0
            self._begin()

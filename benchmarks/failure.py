"""What ends a benchmark before it has its figures."""

from __future__ import annotations


class BenchmarkFailed(Exception):
    """A contestant, the server or the machine did not do what the benchmark needs."""


class TooLittleSpace(BenchmarkFailed):
    """The disk is too small; nothing was begun."""

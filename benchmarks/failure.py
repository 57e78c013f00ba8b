"""What ends a benchmark, or one contestant's part in it, before there are figures."""

from __future__ import annotations


class BenchmarkFailed(Exception):
    """A contestant, the server or the machine did not do what the benchmark needs."""


class TooLittleSpace(BenchmarkFailed):
    """The disk is too small; nothing was begun."""


class UnfitCache(BenchmarkFailed):
    """A directory to keep tables in cannot be used, or holds others than it says."""


class OverLimit(BenchmarkFailed):
    """A contestant took more time or memory than it may, and was ended."""

"""How a scan works, apart from what it looks for: checked once, before anything else."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import RunMismatch, UsageError
from .pace import Budget, parse_size

ORDERS = ("auto", "physical", "key")
_MOST_JOBS = 64
_MOST_NICE = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one call of ``scan``."""

    #: "auto", "physical" or "key"
    order: str
    #: sessions that read at a time
    jobs: int
    #: how the buffers share the memory
    budget: Budget
    #: seconds to sleep per second of reading
    nice: float

    @classmethod
    def of(cls, *, order: str, jobs: int, memory: int | str, nice: float) -> Options:
        """Check the options. Raises UsageError."""
        if order not in ORDERS:
            raise UsageError(
                f"{order!r} is no order to read in", hint=f"Known: {', '.join(ORDERS)}."
            )
        if not 1 <= jobs <= _MOST_JOBS:
            raise UsageError(
                f"{jobs} jobs are not possible", hint=f"Give 1 to {_MOST_JOBS} jobs."
            )
        if not 0 <= nice <= _MOST_NICE:
            raise UsageError(
                f"{nice} is no share of time to sleep", hint=f"Give 0 to {_MOST_NICE:g}."
            )
        budget = Budget.share(parse_size(memory), jobs)
        return cls(order=order, jobs=jobs, budget=budget, nice=nice)

    def check_order(self, known: str) -> None:
        """Raise RunMismatch where a run in another order was begun."""
        if self.order not in ("auto", known):
            raise RunMismatch(
                f"the run reads in {known} order, not in {self.order} order",
                hint=f"Go on with --order {known}, or begin again with --fresh.",
                field="order",
                expected=known,
                found=self.order,
            )

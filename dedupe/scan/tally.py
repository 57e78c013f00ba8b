"""The tally: what a scan has done, and what a checkpoint saves of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..confirm import Confirmed
from ..key import ResolvedKey
from ..progress import RunStatus
from ..table import Table
from .checkpoint import State
from .pace import peak_memory
from .run import KeyResult

#: how the work divides over the phases where nothing better is known: the sweep only
#: filters, and candidates are few. Each share is multiplied by the part of the phase done.
_SHARES = {RunStatus.SCANNING: 0.78, RunStatus.SWEEPING: 0.17, RunStatus.CONFIRMING: 0.05}


@dataclass(slots=True)
class Tally:
    """What has been done; changed by the thread that called ``scan`` alone."""

    phase: RunStatus
    table: Table
    keys: tuple[ResolvedKey, ...]
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
    #: place in the server's history that the main pass has seen
    history: int = 0
    #: seconds of work before this session, and those of all sweeps
    seconds_before: float = 0.0
    sweep_seconds: float = 0.0
    #: most bytes that an earlier session held
    peak_before: int = 0
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, state: State, table: Table, keys: Sequence[ResolvedKey]) -> Tally:
        """Go on counting where ``state`` stands."""
        facts = state.facts()
        return cls(
            phase=RunStatus(facts["phase"]),
            table=table,
            keys=tuple(keys),
            blocks=table.blocks,
            main_blocks=facts["main_blocks"],
            main_rows=facts["main_rows"],
            sweep_rows=zeros(keys),
            spilled=facts["spill_length"],
            history=facts.get("history", 0),
            seconds_before=facts["seconds"],
            sweep_seconds=facts["sweep_seconds"],
            peak_before=facts["peak_rss_bytes"],
        )

    def return_to(self, state: State) -> None:
        """Count on from the last checkpoint of the main pass."""
        facts = state.facts()
        self.main_blocks, self.main_rows = facts["main_blocks"], facts["main_rows"]
        self.spilled, self.history = facts["spill_length"], facts["history"]

    def begin_main_pass(self) -> None:
        """Forget what an earlier main pass has counted."""
        self.phase = RunStatus.SCANNING
        self.main_blocks, self.spilled, self.main_rows = 0, 0, zeros(self.keys)
        self.sweep_rows = zeros(self.keys)

    def begin_sweep(self) -> None:
        """Forget what an earlier sweep has counted."""
        self.phase = RunStatus.SWEEPING
        self.sweep_blocks, self.walked, self.groups = 0, 0.0, 0
        self.sweep_rows = zeros(self.keys)

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

    def results(self, confirmed: Sequence[Confirmed] = ()) -> list[KeyResult]:
        """Say what is known of each key; ``confirmed`` is empty until all of them are."""
        nothing = Confirmed(groups=0, rows_in_groups=0, false_candidates=0)
        return [
            KeyResult(
                name=key.name,
                schema=self.table.schema,
                table=self.table.name,
                rows=rows,
                left_out=left_out,
                groups=found.groups,
                rows_in_groups=found.rows_in_groups,
                false_candidates=found.false_candidates,
            )
            for key, (rows, left_out), found in zip(
                self.keys, self.rows(), confirmed or [nothing] * len(self.keys), strict=True
            )
        ]

    def facts(self, confirmed: Sequence[Confirmed] = ()) -> dict[str, Any]:
        """Return what every checkpoint saves beside positions."""
        return {
            "spill_length": self.spilled,
            "history": self.history,
            "main_blocks": self.main_blocks,
            "main_rows": self.main_rows,
            "keys": [asdict(key) for key in self.results(confirmed)],
            "fraction": self.fraction,
            "seconds": self.seconds,
            "sweep_seconds": self.sweep_seconds,
            "peak_rss_bytes": max(peak_memory(), self.peak_before),
        }


def zeros(keys: Sequence[object]) -> list[list[int]]:
    """Return a pair of zeros for each key."""
    return [[0, 0] for _ in keys]

"""The whole benchmark: build once, let each work on a copy, compare what they leave."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dedupe.lab import server

from .. import machine
from ..machine import Machine
from . import ours, peer
from .ours import Ours
from .peer import PEERS, PeerOutcome
from .state import State, differing, state
from .tables import Shape, copied, original

Tell = Callable[[str], None]

#: the log is written as PostgreSQL does by default, so that a standby could follow
SETTINGS = {**machine.SETTINGS, "wal_level": "replica", "max_wal_senders": "10"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the benchmark was asked for."""

    shape: Shape
    #: whether somebody writes while pgmend repairs
    writer: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All that was measured."""

    asked: Asked
    machine: Machine
    #: of the four tables
    heap_bytes: int
    peers: tuple[PeerOutcome, ...]
    ours: Ours
    #: what the tables held before anything, and after the first peer
    before: State
    repaired: State
    #: what is not as it must be, in words
    wrong: tuple[str, ...]

    @property
    def best(self) -> PeerOutcome:
        """The faster peer."""
        return min(self.peers, key=lambda outcome: outcome.seconds)


def measure(asked: Asked, tell: Tell) -> Figures:
    """Start a server, build, measure, and remove everything. Raises BenchmarkFailed, LabError.

    PGMEND_LAB_DSN names a server to use instead, as it is set up.
    """
    load = os.getloadavg()[0]
    shape = asked.shape
    settings = None if os.environ.get("PGMEND_LAB_DSN") else SETTINGS
    with (
        tempfile.TemporaryDirectory(prefix="pgmend-benchmark-") as place,
        server(settings=settings) as lab,
    ):
        described = machine.describe(lab, load)
        tell(f"building four tables of {shape.rows:,} rows, {shape.groups:,} groups of two")
        with original(lab, shape) as built:
            before = state(built.dsn)
            outcomes: list[PeerOutcome] = []
            states: dict[str, State] = {}
            for contestant in PEERS:
                with copied(lab, built, "peer") as dsn:
                    tell(contestant.name)
                    outcomes.append(peer.run(contestant, dsn))
                    states[contestant.name] = state(dsn)
            with copied(lab, built, "pgmend") as dsn:
                tell("pgmend: scan, plan, repair, undo")
                told = ours.run(dsn, Path(place), shape, writer=asked.writer)
    repaired = next(iter(states.values()))
    return Figures(
        asked=asked,
        machine=described,
        heap_bytes=built.heap_bytes,
        peers=tuple(outcomes),
        ours=told,
        before=before,
        repaired=repaired,
        wrong=(
            *wrong_peers(shape, before, states),
            *wrong_ours(shape, before, repaired, told),
        ),
    )


def wrong_peers(shape: Shape, before: State, after: Mapping[str, State]) -> Iterator[str]:
    """Hold every peer to what is known of the tables, and to the first of them."""
    first = next(iter(after.values()))
    for name, found in after.items():
        wanted = {
            "statuses": shape.rows - shape.groups,
            "media": before["media"][0],
            "reports": before["reports"][0],
        }
        for table, rows in wanted.items():
            if found[table][0] != rows:
                yield f"{name} left {found[table][0]:,} rows of {table}, not {rows:,}"
        for table in differing(found, first):
            yield f"{name} left other rows of {table} than the first peer"


def wrong_ours(shape: Shape, before: State, repaired: State, told: Ours) -> Iterator[str]:
    """Hold pgmend to the same: repaired as by the peers, and undone as it was before."""
    for step in (told.scan, told.plan):
        if step.told["groups"] != shape.groups:
            yield f"pgmend's {step.name} has {step.told['groups']:,} groups, not {shape.groups:,}"
    if told.repair.told["status"] != "repaired" or told.repair.told["left"]:
        yield (
            f"pgmend's repair ended as {told.repair.told['status']!r}"
            f" with {told.repair.told['left']:,} groups left"
        )
    for table in differing(told.repaired, repaired):
        yield f"pgmend left other rows of {table} than the peers"
    if told.writes is not None and told.undo.told["refused"]:
        # The writer changed these rows since; what was not refused cannot be told apart here.
        return
    if told.undo.told["status"] != "undone":
        yield (
            f"pgmend's undo ended as {told.undo.told['status']!r}"
            f" and refused {told.undo.told['refused']:,} rows"
        )
    for table in differing(told.undone, before):
        yield f"pgmend's undo left other rows of {table} than there were"

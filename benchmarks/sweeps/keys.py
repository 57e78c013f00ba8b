"""Kinds of keys: a type, two columns, an expression; and five keys of one table at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from ..bystander import bystander
from ..floor import FLOOR
from ..ours import Scan
from ..table import Store, Table, keyed, warm
from .scanned import Sweeper, scanned_for, shown
from .settings import USUAL


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    name: str
    #: as --key takes them
    parts: tuple[str, ...]
    #: the hash that the floor computes
    hash: str


_KINDS = (
    _Kind(name="bigint", parts=("number",), hash="hashint8extended(number, 0)"),
    _Kind(name="uuid", parts=("token",), hash="uuid_hash_extended(token, 0)"),
    _Kind(name="text", parts=("uri",), hash="hashtextextended(uri, 0)"),
    _Kind(
        name="two columns",
        parts=("uri", "half"),
        hash="hashint4extended(half, hashtextextended(uri, 0))",
    ),
    _Kind(name="expression", parts=("lower(uri)",), hash="hashtextextended(lower(uri), 0)"),
)
#: the keys of statuses that are scanned together
FIVE = (
    ("id",),
    ("uri",),
    ("account_id", "id"),
    ("lower(uri)",),
    ("conversation_id", "id"),
)


def by_kind(
    sweeper: Sweeper, store: Store, rows: int, seed: int
) -> Iterator[dict[str, Any]]:
    """Yield a row for each kind of key; all have the same groups."""
    with keyed(store, rows, seed) as table:
        for kind in _KINDS:
            options = [text for part in kind.parts for text in ("--key", part)]
            scan = Scan(jobs=USUAL.jobs, memory=USUAL.memory, key=tuple(options))
            floor = replace(FLOOR, sql=f"SELECT sum({kind.hash}) FROM {{table}}")
            yield shown(sweeper.beside(table, scan, floor, f"a key of {kind.name}"), key=kind.name)


def five(sweeper: Sweeper, table: Table) -> Iterator[dict[str, Any]]:
    """Yield what one pass over five keys takes, and five scans of a key each."""
    passes: list[float] = []
    scans: list[float] = []
    for number in range(sweeper.rounds):
        sweeper.tell(f"five keys, round {number + 1} of {sweeper.rounds}")
        passes.append(_seconds(sweeper, table, FIVE))
        scans.append(sum(_seconds(sweeper, table, [key]) for key in FIVE))
    yield {"what": "one pass", "seconds": median(passes)}
    yield {"what": "five scans", "seconds": median(scans)}


def _seconds(sweeper: Sweeper, table: Table, keys: Sequence[Sequence[str]]) -> float:
    """Scan for some keys in a process of its own; return its seconds, the sweep's included."""
    warm(table.dsn, table.name)
    with bystander(table.dsn):
        return scanned_for(table, keys, sweeper.scratch)["seconds"]

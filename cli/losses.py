"""What goes for good by a recipe, for people and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dedupe import Loss, Losses, Member

from .output import counted, shown_value


def losses_facts(losses: Losses) -> dict[str, Any]:
    """Return the fields of ``losses`` in ``recipe run --json``."""
    return {
        "step": losses.step,
        "table": losses.table,
        "answered": dict(losses.answered),
        "rows": losses.rows,
        "gone": dict(losses.gone),
        "emptied": dict(losses.emptied),
        "file": str(losses.file),
    }


def losses_lines(losses: Losses) -> Iterator[str]:
    """Write what goes: all together, then the first rows, and where the others are listed."""
    yield f"{losses.heading}, and with {'it' if losses.rows == 1 else 'them'}"
    for table, count in losses.gone.items():
        yield f"  {count:>9,}  {table}"
    for column, count in losses.emptied.items():
        yield f"  {count:>9,}  {column}, emptied"
    if not (losses.gone or losses.emptied):
        yield f"  {'nothing':>9}"
    for loss in losses.first:
        gone, emptied = sum(loss.gone.values()), sum(loss.emptied.values())
        yield f"  {_row(loss)}: {counted(gone, 'row')} with it, {emptied:,} emptied"
    more = losses.rows - len(losses.first)
    yield f"  {f'and {more:,} more; ' if more else ''}each is listed in {losses.file}"


def _row(loss: Loss) -> str:
    """Write which row goes and which stays: ``alice, example.org (id 17; id 12 stays)``."""
    key = ", ".join(map(shown_value, loss.row.key))
    if not loss.row.pk:
        return key
    other = "goes with it" if loss.survivor_goes else "stays"
    return f"{key} ({_named(loss.row)}; {_named(loss.survivor)} {other})"


def _named(row: Member) -> str:
    return ", ".join(f"{name} {shown_value(value)}" for name, value in (row.pk or {}).items())

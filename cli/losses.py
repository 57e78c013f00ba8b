"""What goes for good by a recipe, for people and as JSON."""

from __future__ import annotations

from collections.abc import Collection, Iterator
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


def losses_lines(losses: Losses, undecided: Collection[str]) -> Iterator[str]:
    """Write what goes: all together, then the first rows, and where the others are listed.

    ``undecided`` are the questions that are open: what is told is their default then.
    """
    default = " (the default, not decided yet)" if set(losses.answered) & set(undecided) else ""
    yield f"{losses.heading}{default}, and with {'it' if losses.rows == 1 else 'them'}"
    counts = [
        *((f"{count:,}", table) for table, count in losses.gone.items()),
        *((f"{count:,}", f"{column}, emptied") for column, count in losses.emptied.items()),
    ]
    width = max((len(count) for count, _ in counts), default=0)
    for count, what in counts:
        yield f"  {count.rjust(width)}  {what}"
    if not counts:
        yield "  nothing else"
    for loss in losses.first:
        gone, emptied = sum(loss.gone.values()), sum(loss.emptied.values())
        yield f"  {_row(loss)}: {counted(gone, 'row')} with it, {emptied:,} emptied"
    more = losses.rows - len(losses.first)
    yield f"  {f'and {more:,} more; ' if more else ''}each is listed in {losses.file}"


def _row(loss: Loss) -> str:
    """Write which row goes and which is kept: ``alice, example.org (id 17; id 12 stays)``."""
    key = ", ".join(shown_value(value) for value in loss.row.key if value) or "an empty key"
    if not loss.row.pk:
        return key
    other = "goes with it" if loss.survivor_goes else "stays"
    return f"{key} ({_named(loss.row)}; {_named(loss.survivor)} {other})"


def _named(row: Member) -> str:
    return ", ".join(f"{name} {shown_value(value)}" for name, value in (row.pk or {}).items())

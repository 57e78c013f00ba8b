"""``pgmend guard run``: another command, only where there is a way back from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from dedupe.errors import FailureError, NotCovered, SnapshotRequired
from migrations_check import Demand, Guard, Step

from .. import output, snapshots
from ..child import NotStarted, run_child
from ..config import settings_option
from ..exits import ExitCode
from ..guarding import (
    demand_of,
    demand_options,
    drilled,
    gate,
    guard_of,
    provider_options,
    provider_to_take,
    receipts_options,
    refuse,
    say_the_way_back,
    telling,
)
from ..options import Connecting, connection_options, taken_from
from .guard import guard_command


@guard_command.command(
    "run",
    short_help="Run a command only behind the gate.",
    # What comes after the command's name is the command's own.
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--take", is_flag=True, help="Take and verify a snapshot first.")
@provider_options
@demand_options
@receipts_options
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@connection_options
@settings_option
@click.pass_context
def run_command(
    context: click.Context, /, *, command: tuple[str, ...], take: bool, quiet: bool, **given: Any
) -> int:
    """Run COMMAND behind the gate and end with its code; say the way back if it fails.

    4 and a line that begins with "pgmend: refused:" if the gate is closed: COMMAND was not
    started then.
    """
    guard, demand = guard_of(context.obj, given), demand_of(context.obj, given)
    taking = provider_to_take(guard, given, take=take)
    where = taken_from(given, context.obj)
    try:
        if taking:
            _take(guard, where, taking, demand, telling(quiet=quiet))
        kept = gate(guard, where.open, demand)
    except SnapshotRequired as error:
        refuse(error)
        return ExitCode.REFUSED
    if not quiet:
        output.note(f"pgmend: open: {snapshots.receipt_text(kept)}")
    try:
        code = run_child(command)
    except NotStarted as error:
        output.complain(str(error))
        return error.code
    if code:
        say_the_way_back(guard, kept.receipt, code)
    return code


def _take(
    guard: Guard, where: Connecting, named: tuple[str, str | None], demand: Demand,
    told: Callable[[Step], None],
) -> None:
    """Take a snapshot and prove it as far as is asked for. Raises SnapshotRequired."""
    try:
        kept = guard.verify(guard.take(where.open(), named[0], to=named[1], told=told), told)
        if demand.level == "drilled" and kept.proved("verified"):
            drilled(guard, kept, None, told)
    except (FailureError, NotCovered) as error:
        raise SnapshotRequired(
            f"no snapshot could be taken: {error.message}", hint=error.hint
        ) from error

"""``pgmend guard status``, ``require``, ``run`` and ``remove``: what there is, and the gate."""

from __future__ import annotations

from typing import Any

import click

from dedupe.errors import SnapshotRequired
from migrations_check import status

from .. import output, snapshots
from ..config import settings_option
from ..exits import ExitCode
from ..guarding import (
    demand_of,
    demand_options,
    gate,
    guard_of,
    provider_named,
    provider_options,
    reasons_of,
    receipts_options,
    refuse,
)
from ..options import connection_options, json_option, taken_from
from .guard import guard_command


@guard_command.command("status", short_help="List all snapshots, and what is wrong with them.")
@provider_options
@click.option("--max-age", metavar="AGE", help="How old the newest proved one may be [24h].")
@receipts_options
@json_option
@settings_option
@click.pass_context
def status_command(context: click.Context, /, *, as_json: bool, **given: Any) -> int:
    """List the snapshots of every configured provider and receipt; exit code 1 if any is amiss."""
    guard = guard_of(context.obj, given)
    also = provider_named(guard, given) if given["provider"] or given["to"] else None
    found = status(guard, demand_of(context.obj, {"level": None, **given}).max_age, also)
    if as_json:
        output.print_json(snapshots.status_facts(found))
    else:
        snapshots.print_status(found)
    return ExitCode.FOUND if found.findings else ExitCode.OK


@guard_command.command("remove", short_help="Remove a snapshot, whole or half-finished.")
@click.argument("snapshot")
@provider_options
@receipts_options
@json_option
@settings_option
@click.pass_context
def remove_command(
    context: click.Context, /, *, snapshot: str, as_json: bool, **given: Any
) -> int:
    """Remove SNAPSHOT, as status names it, and its receipt; never the last good one (4)."""
    guard = guard_of(context.obj, given)
    name, to = provider_named(guard, given)
    removed = guard.remove(snapshot, name, to=to)
    if as_json:
        facts = snapshots.snapshot_facts(removed)
        output.print_json({"format_version": output.FORMAT_VERSION, "removed": facts})
    else:
        print(f"Removed: {output.one_line(removed.id)}")
    return ExitCode.OK


@guard_command.command("require", short_help="Exit 0 if a fresh snapshot counts, else 4.")
@demand_options
@receipts_options
@json_option
@connection_options
@settings_option
@click.pass_context
def require_command(context: click.Context, /, *, as_json: bool, **given: Any) -> int:
    """Tell whether a receipt shows a fresh, proved snapshot of the server's cluster."""
    guard, demand = guard_of(context.obj, given), demand_of(context.obj, given)
    where = taken_from(given, context.obj)
    try:
        kept = gate(guard, where.open, demand)
    except SnapshotRequired as error:
        if as_json:
            output.print_json({"format_version": output.FORMAT_VERSION, "open": False,
                               "reasons": reasons_of(error), "remedy": error.hint})
        refuse(error)
        return ExitCode.REFUSED
    if as_json:
        output.print_json({**snapshots.kept_facts(kept), "open": True})
    else:
        print(f"open: {snapshots.receipt_text(kept)}")
    return ExitCode.OK

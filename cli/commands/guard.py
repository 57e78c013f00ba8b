"""``pgmend guard``: snapshots that can be gone back to, taken and proved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from migrations_check import load

from .. import output, snapshots
from ..config import settings_option
from ..exits import ExitCode
from ..guarding import (
    drilled,
    guard_of,
    provider_named,
    provider_options,
    receipts_options,
    telling,
)
from ..options import connection_options, json_option, taken_from


@click.group("guard", short_help="Take, prove and require snapshots to go back to.")
def guard_command() -> None:
    """See to it that there is a way back: a fresh snapshot, proved, on record in a receipt."""


@guard_command.command("take", short_help="Take a snapshot and write its receipt.")
@provider_options
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Verify; remove all but N good.")
@receipts_options
@json_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@connection_options
@settings_option
@click.pass_context
def take_command(
    context: click.Context, /, *, keep: int | None, as_json: bool, quiet: bool, **given: Any
) -> int:
    """Take a snapshot; print the path of its receipt.

    With --keep it is verified, and older ones are removed once it is good; else 1.
    """
    guard = guard_of(context.obj, given)
    name, to = provider_named(guard, given)
    told = telling(quiet=quiet)
    kept = guard.take(taken_from(given, context.obj).open(), name, to=to, told=told)
    if keep is not None:
        kept = guard.verify(kept, told)
        for old in guard.thin_out(kept, keep):
            output.note(f"removed: {old.snapshot.id} of {output.moment_text(old.cluster.now)}")
    if as_json:
        output.print_json(snapshots.kept_facts(kept))
    else:
        print(kept.path)
    if keep is None or kept.proved("verified"):
        return ExitCode.OK
    output.complain(f"the new snapshot failed: {kept.results[-1].findings[0]}",
                    "Nothing older was removed.")
    return ExitCode.FOUND


@guard_command.command("verify", short_help="Prove a snapshot; with --drill, by restoring it.")
@click.argument("receipt", type=click.Path(path_type=Path))
@click.option("--drill", is_flag=True, help="Restore it into a scratch server and compare.")
@click.option("--scratch", metavar="DIR", help="Where there is room for that [temporary].")
@click.option("--bindir", metavar="DIR", help="Where PostgreSQL's programs are.")
@json_option
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@settings_option
@click.pass_context
def verify_command(
    context: click.Context, /, *, receipt: Path, drill: bool, scratch: str | None, as_json: bool,
    quiet: bool, **given: Any,
) -> int:
    """Prove the snapshot of RECEIPT and put the result beside it; exit code 1 if it failed."""
    kept = load(receipt.absolute())
    before = len(kept.results)
    guard = guard_of(context.obj, {"receipts": receipt.parent, **given})
    told = telling(quiet=quiet)
    kept = guard.verify(kept, told)
    if drill and kept.results[-1].passed:
        where = context.obj.get("guard", "scratch", scratch)
        kept = drilled(guard, kept, Path(where) if where else None, told)
    new = kept.results[before:]
    if as_json:
        output.print_json(snapshots.kept_facts(kept))
    else:
        snapshots.print_results(new)
    return ExitCode.OK if all(result.passed for result in new) else ExitCode.FOUND

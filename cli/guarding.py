"""What the commands of ``guard`` share: their options, the guard of the settings, the gate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import click

from dedupe.connect import Database
from dedupe.errors import (
    DedupeError,
    FailureError,
    RefusedError,
    RestoreByHand,
    SnapshotRequired,
    UsageError,
)
from migrations_check import Demand, Guard, Kept, Receipt, Step, duration, required

from .config import Config
from .output import complain, moment_text, note, one_line
from .repairing import Server
from .snapshots import receipt_text

F = TypeVar("F", bound=Callable[..., Any])

#: seconds between two lines of progress, where no bar can be drawn
_PAUSE = 10.0
#: why a repair of a rehearsal server needs no snapshot
_LAB_REASON = "lab server"


def receipts_options(command: F) -> F:
    """Add --receipts and --bindir to a command."""
    for option in (
        click.option("--bindir", metavar="DIR", help="Where PostgreSQL's programs are."),
        click.option("--receipts", metavar="DIR", help="Where receipts are kept."),
    ):
        command = option(command)
    return command


def provider_options(command: F) -> F:
    """Add --provider and --to to a command."""
    for option in (
        click.option("--to", metavar="DIR", help="Where the provider keeps its snapshots."),
        click.option(
            "--provider", metavar="NAME", help="One of the settings file, or a kind of provider."
        ),
    ):
        command = option(command)
    return command


def demand_options(command: F) -> F:
    """Add --max-age, --verified and --drilled to a command."""
    for option in (
        click.option(
            "--drilled", "level", flag_value="drilled", help="It was restored as a test, too."
        ),
        click.option(
            "--verified", "level", flag_value="verified", help="Its files were verified [default]."
        ),
        click.option("--max-age", metavar="AGE", help="How old the snapshot may be [24h]."),
    ):
        command = option(command)
    return command


def gate_options(command: F) -> F:
    """Add to a command that writes what it takes instead of asking for the way back."""
    command = receipts_options(demand_options(command))
    return click.option(
        "--without-snapshot", "reason", metavar="REASON",
        help="Why the database needs no snapshot to go back to.",
    )(command)


def guard_of(config: Config, given: dict[str, Any]) -> Guard:
    """Take the guard's options out of a command's arguments, filled up by the settings file.

    Raises UsageError.
    """
    receipts = config.get("guard", "receipts", given.pop("receipts"))
    bindir = config.get("guard", "bindir", given.pop("bindir", None))
    if receipts is None:
        raise UsageError(
            "where receipts are kept was not said",
            hint="Say --receipts DIR, or guard.receipts in the settings file.",
        )
    providers: Mapping[str, Any] = config.get("guard", "providers", default={})
    if wrong := [name for name, facts in providers.items() if not isinstance(facts, dict)]:
        raise UsageError(f"{config.path}: guard.providers.{wrong[0]} must be a table")
    return Guard(
        receipts=Path(receipts).expanduser().absolute(), providers=providers,
        bindir=None if bindir is None else Path(bindir).expanduser(),
    )


def demand_of(config: Config, given: dict[str, Any]) -> Demand:
    """Take out what is asked of a snapshot. Raises UsageError."""
    level = given.pop("level") or "verified"
    age = config.get("guard", "max_age", given.pop("max_age"), default="24h")
    return Demand(
        max_age=duration(str(age)), level=cast('Literal["verified", "drilled"]', level)
    )


def provider_named(guard: Guard, given: dict[str, Any]) -> tuple[str, str | None]:
    """Take out the provider and its directory; the only one that is configured need not be said.

    Raises UsageError.
    """
    name, to = given.pop("provider"), given.pop("to")
    if name is None and len(guard.providers) == 1:
        name = next(iter(guard.providers))
    if name is None:
        raise UsageError(
            "which provider is meant was not said",
            hint="Say --provider NAME: one of [guard.providers] in the settings file, or"
            " pg_basebackup or pg_dump with --to DIR.",
        )
    return str(name), None if to is None else str(Path(to).expanduser().absolute())


def provider_to_take(
    guard: Guard, given: dict[str, Any], *, take: bool
) -> tuple[str, str | None] | None:
    """Take out the provider of --take; None without it. Raises UsageError."""
    if take:
        return provider_named(guard, given)
    if given.pop("provider") is not None or given.pop("to") is not None:
        raise UsageError("--provider and --to say how to --take, which was not said",
                         hint="Add --take, or leave them out.")
    return None


def telling(*, quiet: bool) -> Callable[[Step], None]:
    """Return what shows the steps of long work on stderr: each new one, and now and then."""
    shown: tuple[str, float] = ("", 0.0)

    def told(step: Step) -> None:
        nonlocal shown
        now = time.monotonic()
        if quiet or (step.doing == shown[0] and now - shown[1] < _PAUSE):
            return
        shown = step.doing, now
        share = f", {step.done / step.total:.0%}" if step.done and step.total else ""
        size = f" of {step.total / (1 << 20):,.0f} MB" if step.total else ""
        at = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
        note(f"{at} {one_line(step.doing)}{share}{size}")

    return told


def gate(guard: Guard, open_database: Callable[[], Database], demand: Demand) -> Kept:
    """Return the receipt that opens the gate.

    Raises SnapshotRequired, also where a server or a disk leaves it unknown.
    """
    try:
        return required(guard, open_database(), demand)
    except SnapshotRequired:
        raise
    except (FailureError, RefusedError) as error:
        raise SnapshotRequired(
            f"whether there is a snapshot that counts is not known: {error.message}",
            hint=error.hint, reasons=(error.message,),
        ) from error


def snapshot_reason(
    config: Config, given: dict[str, Any], server: Server, database: Database, *, execute: bool
) -> str | None:
    """Return what the journal says of the way back: a receipt, or why none is needed.

    Takes the options of the gate out of a command's arguments. Asks nothing unless something
    is to be written. Raises SnapshotRequired, RefusedError, UsageError.
    """
    reason, receipts = given.pop("reason"), given["receipts"]
    if reason is not None and not reason.strip():
        raise UsageError(
            "--without-snapshot says no reason",
            hint="Write --without-snapshot REASON; it is kept in the journal.",
        )
    known = receipts is not None or config.get("guard", "receipts") is not None
    demand = demand_of(config, given)
    guard = guard_of(config, given) if known else None
    for name in ("receipts", "bindir"):
        given.pop(name, None)
    if not execute:
        return None
    if reason is not None:
        return str(reason.strip())
    if server.lab and receipts is None:
        return _LAB_REASON
    if guard is None:
        raise RefusedError(
            f"nothing shows that {server.place} could be brought back: there is no snapshot of it",
            hint="If it may be repaired all the same, say why: --without-snapshot REASON. The"
            " reason is kept in the journal. Else take a snapshot and verify it, and say where"
            " receipts are: --receipts DIR (see docs/guards.md).",
        )
    text = receipt_text(gate(guard, lambda: database, demand))
    note(f"pgmend: the way back: {text}")
    return text


def refuse(error: SnapshotRequired) -> None:
    """Say on stderr that the gate is closed, why, and what opens it."""
    note(f"pgmend: refused: {one_line(error.message)}")
    for reason in reasons_of(error)[1:]:
        note(f"  {one_line(reason)}")
    if error.hint:
        note(f"HINT: {one_line(error.hint)}")


def drilled(
    guard: Guard, kept: Kept, where: Path | None, told: Callable[[Step], None]
) -> Kept:
    """Drill a snapshot; where only a person can restore it, say on stderr how, and raise that."""
    try:
        return guard.drill(kept, where, told)
    except RestoreByHand as error:
        for step in cast("tuple[str, ...]", error.facts.get("steps", ())):
            note(step)
        raise


def say_the_way_back(guard: Guard, receipt: Receipt, code: int) -> None:
    """Say on stderr how to go back to a snapshot, a line a step, ready to paste."""
    note(f"pgmend: the command failed with {code}. The way back to"
         f" {moment_text(receipt.snapshot.taken_at)}:")
    try:
        steps = guard.provider_of(receipt).steps_back(receipt.snapshot, receipt.cluster)
    except DedupeError as error:
        # The code of the command counts, whatever else fails.
        complain(f"it cannot be told: {error.message}", error.hint)
    else:
        for step in steps:
            note(step)


def reasons_of(error: SnapshotRequired) -> tuple[str, ...]:
    """Return each reason why a receipt does not count, the newest receipt's first."""
    return cast("tuple[str, ...]", error.facts.get("reasons", ()))

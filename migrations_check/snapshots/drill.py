"""The drill: a snapshot is restored, started, and compared with what its receipt says."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from dedupe.connect import connect
from dedupe.errors import DedupeError, LocalStorageError, ProgramMissing, RestoreByHand

from .cluster import Cluster
from .programs import bindir_of
from .provider import Proof, Provider, Step, Told
from .receipts import Receipt
from .rows import TableRows, note
from .scratch import LocalScratch, scratch


def drill(
    receipt: Receipt, provider: Provider, *, where: Path | None, bindir: Path | None, told: Told
) -> tuple[Proof, float]:
    """Bring the snapshot to life and compare; return the proof and the restore time in seconds.

    The time runs until the server has recovered and takes connections. A restore or a start
    that fails is a failed proof. Raises RestoreByHand, ProgramMissing, LocalStorageError (no
    room, or none for a server).
    """
    programs = bindir_of(receipt.cluster.major, "postgres", "initdb", named=bindir)
    user = str(conninfo_to_dict(receipt.cluster.conninfo).get("user", "postgres"))
    with scratch(programs, where, user) as place:
        _room(receipt, place.directory)
        began = time.monotonic()
        try:
            provider.restore(receipt.snapshot, place, told)
            told(Step(doing="recovering"))
            place.start()
            seconds = time.monotonic() - began
            told(Step(doing="comparing"))
            wrong, right = _compared(receipt, place)
        except (RestoreByHand, ProgramMissing, LocalStorageError):
            raise
        except DedupeError as error:
            return Proof(passed=False, findings=(error.message,)), time.monotonic() - began
    took = f"restored, recovered and taking connections in {seconds:.1f} s"
    return Proof(passed=not wrong, findings=(*wrong, took, *right)), seconds


def _room(receipt: Receipt, directory: Path) -> None:
    sizes = [one.size or 0 for one in receipt.cluster.databases]
    needed, free = max(sum(sizes), receipt.snapshot.size or 0), shutil.disk_usage(directory).free
    if free < needed:
        raise LocalStorageError(
            f"a drill needs {needed:,} bytes in {directory.parent}, and {free:,} are free",
            hint="Name a directory with more room: --scratch DIR.",
            path=directory.parent,
        )


def _compared(receipt: Receipt, place: LocalScratch) -> tuple[list[str], list[str]]:
    """Return what differs from the receipt, and what does not."""
    wrong, right = [], []
    database = connect(place.dsn("template1"))
    found = Cluster.of(database)
    if receipt.snapshot.databases is None:
        wanted, is_one = receipt.cluster.system_identifier, found.system_identifier
        if wanted != is_one:
            wrong.append(f"it is of the cluster with system identifier {is_one}, not {wanted}")
        right.append(f"system identifier {is_one}")
    names = receipt.snapshot.databases or tuple(one.name for one in receipt.cluster.databases)
    there = {one.name for one in found.databases}
    wrong += [f"database {name} is missing" for name in names if name not in there]
    held = tuple(name for name in names if name in there)
    counted = note(database, held, counting=True).tables
    rows, emptied = 0, []
    for table in receipt.tables:
        one = counted.get((table.database, table.schema, table.table))
        if one is not None:
            rows += one.rows or 0
            if table.unlogged and not one.rows:
                emptied.append(f"{table.database}: {table.schema}.{table.table}")
                if receipt.snapshot.databases is None:
                    # So it is after any recovery, however good the copy.
                    continue
        if told := _differs(table, None if one is None else one.rows):
            wrong.append(f"table {table.database}: {table.schema}.{table.table}: {told}")
    if emptied:
        right.append(f"unlogged tables come back empty: {', '.join(emptied)}")
    every = "every other table" if emptied else "every table"
    moved = sum(table.least != table.most for table in receipt.tables)
    right.append(
        f"{len(held)} databases, {len(receipt.tables)} tables, {rows:,} rows, each read; "
        + (f"{moved} tables were written to while the snapshot was taken, and their rows are"
           " within what was written" if moved else f"{every} has the rows it had")
    )
    return wrong, right if not wrong else []


def _differs(table: TableRows, rows: int | None) -> str:
    if rows is None:
        return "it is missing"
    if table.most is None:
        return "nobody knows how many rows it had: the statistics were reset during the snapshot"
    if not table.least <= rows <= table.most:
        wanted = f"{table.least:,}" + (
            f" to {table.most:,}" if table.most != table.least else ""
        )
        return f"{rows:,} rows instead of {wanted}"
    return ""

"""Dumps that hold something else than what was asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from migrations_check import load
from migrations_check.snapshots.directory import digest
from migrations_check.snapshots.receipts import keep

from .conftest import Guarded


def test_a_dump_of_another_database(guard: Guarded) -> None:
    """It counts for the databases that are in it."""
    guard.settings(f'[guard.providers.dump]\nkind = "pg_dump"\nto = "{guard.to}"\n'
                   'databases = ["postgres"]\n')
    done = guard("take", *guard.db, "--keep", "3", "-q")
    assert done.returncode == 0, done.stderr
    assert "the database shop is not in it, but postgres" in guard.refused()
    other = guard("require", "-d", guard.cluster.dsn("postgres"), *guard.db[2:])
    assert other.returncode == 0


def swapped(guard: Guarded) -> Path:
    """Take a dump and let its two databases change places; return the receipt."""
    receipt = guard.taken("pg_dump")
    (dump,) = guard.to.glob("*/dump")
    for old, new in (("0", "x"), ("1", "0"), ("x", "1")):
        (dump / old).rename(dump / new)
    return receipt


def test_a_dump_that_was_swapped(guard: Guarded) -> None:
    done = guard("verify", str(swapped(guard)))
    assert done.returncode == 1
    assert "wrong: the checksum of the files below " in done.stdout
    guard.refused()


def test_an_archive_of_another_database(guard: Guarded) -> None:
    """With sums that fit, it is found by what pg_restore reads in it."""
    kept = load(swapped(guard))
    kept.path.unlink()
    was = kept.receipt.snapshot
    summed = replace(was, facts={**was.facts, "sha256": digest(guard.to / was.id / "dump")})
    (guard.to / was.id / "pgmend-snapshot.json").write_bytes(msgspec.json.encode(summed))
    wrong = keep(guard.receipts, replace(kept.receipt, id=f"{kept.receipt.id}-x", snapshot=summed))
    done = guard("verify", str(wrong.path))
    assert done.returncode == 1
    first, second = was.databases or ()
    assert f"wrong: the dump of {first} is one of {second}\n" in done.stdout
    assert "it failed when it was verified" in guard.refused()


def test_a_database_that_is_not_there(guard: Guarded) -> None:
    guard.settings(f'[guard.providers.dump]\nkind = "pg_dump"\nto = "{guard.to}"\n'
                   'databases = ["shp"]\n')
    done = guard("take", *guard.db)
    assert done.returncode == 4
    assert "there is no database shp" in done.stderr
    assert not guard.to.exists()

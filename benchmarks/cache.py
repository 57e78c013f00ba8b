"""Where the tables are: gone after use, or kept in a directory for the next benchmark."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg

from dedupe.lab import Server, server

from .cluster import cluster
from .failure import UnfitCache
from .machine import SETTINGS
from .table import Store, Table, database, warm
from .truth import Found

#: counts up when tables are built differently, or the manifest is
MANIFEST_VERSION = 1
MANIFEST = "manifest.json"
#: pg_class.reltuples is reckoned from a sample of the pages
_NEAR = 1e-2


@contextmanager
def place(keep: Path | None) -> Iterator[tuple[Server, Store]]:
    """Start a server and say where its tables are; stop it at the end.

    Without ``keep`` everything is removed then, and PGMEND_LAB_DSN may name a server
    to use instead. Raises UnfitCache, LabError.
    """
    if keep is None:
        settings = None if os.environ.get("PGMEND_LAB_DSN") else SETTINGS
        with server(settings=settings) as lab:
            yield lab, Passing(lab)
    else:
        with cluster(keep, SETTINGS) as lab:
            yield lab, Kept(lab, keep)


def kept(keep: Path) -> dict[str, dict[str, Any]]:
    """Return what the manifest in a directory says of its tables. Raises UnfitCache."""
    try:
        found = json.loads((keep / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _unfit(keep, MANIFEST, str(error)) from error
    if not isinstance(found, dict) or found.get("manifest_version") != MANIFEST_VERSION:
        raise _unfit(keep, MANIFEST, f"not of version {MANIFEST_VERSION}")
    return dict(found["tables"])


class Passing:
    """Tables that are built and dropped."""

    def __init__(self, lab: Server) -> None:
        self._lab = lab

    @contextmanager
    def table(self, what: str, build: Callable[[str], Table]) -> Iterator[Table]:
        """Build, and drop at the end."""
        with database(self._lab, what) as dsn:
            yield build(dsn)


class Kept:
    """Tables that stay, and a manifest that says which of them were finished."""

    def __init__(self, lab: Server, keep: Path) -> None:
        self._lab = lab
        self._keep = keep
        self._tables = kept(keep)

    @contextmanager
    def table(self, what: str, build: Callable[[str], Table]) -> Iterator[Table]:
        """Give the kept table, or build it. Raises UnfitCache when it is not as it was left."""
        name = f"kept_{what}"
        if what in self._tables:
            table = self._known(name, self._tables[what])
        else:
            # What an interrupted build left.
            self._lab.drop_database(name)
            table = build(self._lab.create_database(name))
            noted = asdict(table)
            # The server's socket is elsewhere the next time.
            del noted["dsn"], noted["relay"]
            self._tables[what] = noted
            self._write()
        yield table

    def _known(self, name: str, noted: dict[str, Any]) -> Table:
        table = Table(
            **{**noted, "truth": Found(**noted["truth"]), "dsn": self._lab.dsn(name)}
        )
        try:
            with psycopg.connect(table.dsn) as connection:
                row = connection.execute(
                    "SELECT reltuples, pg_relation_size(oid) FROM pg_class"
                    " WHERE oid = %s::regclass",
                    [table.name],
                ).fetchone()
        except psycopg.Error as error:
            raise _unfit(self._keep, name, str(error).strip()) from error
        rows, heap_bytes = row if row is not None else (0, 0)
        if abs(rows - table.rows) > table.rows * _NEAR or heap_bytes != table.heap_bytes:
            raise _unfit(
                self._keep,
                name,
                f"{rows:,.0f} rows in {heap_bytes:,} bytes where"
                f" {table.rows:,} in {table.heap_bytes:,} were left",
            )
        warm(table.dsn, table.name, buffers=True)
        return table

    def _write(self) -> None:
        text = json.dumps(
            {"manifest_version": MANIFEST_VERSION, "tables": self._tables}, indent=1
        )
        unfinished = self._keep / f"{MANIFEST}.new"
        unfinished.write_text(text, "utf-8")
        unfinished.replace(self._keep / MANIFEST)


def _unfit(keep: Path, what: str, why: str) -> UnfitCache:
    return UnfitCache(f"{what} in {keep} does not fit: {why}; remove the directory to build anew")

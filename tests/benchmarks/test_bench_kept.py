"""The tables: how much disk they need, and how they are kept for the next time."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from benchmarks import __main__ as command
from benchmarks.cache import MANIFEST, place
from benchmarks.failure import UnfitCache
from benchmarks.need import needed_bytes
from benchmarks.table import Table, statuses


@pytest.fixture
def keep() -> Iterator[Path]:
    """Give a directory that another account can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="bench-keep-") as directory:
        Path(directory).chmod(0o755)
        yield Path(directory)


def test_fifty_million_rows_fit_a_small_disk() -> None:
    """Outcome: what is dropped in between is not counted; what is kept is."""
    assert 25e9 < needed_bytes(50_000_000) < 45e9
    kept = needed_bytes(50_000_000, keep=True)
    assert kept > needed_bytes(50_000_000) + 8e9
    there = {"statuses_50000000_1", "conversations_50000000_1"}
    assert needed_bytes(50_000_000, keep=True, there=there) < kept - 25e9
    assert needed_bytes(50_000_000, keep=True, there=there, seed=2) == kept


def test_kept_tables_are_used_again(keep: Path) -> None:
    """Outcome: the second time nothing is built, and a table that somebody changed, or a
    manifest of another version, is refused.
    """
    with place(keep) as (_, store):
        with statuses(store, 10_000, 1) as table:
            first = table
        with pytest.raises(UnfitCache, match="another benchmark uses"), place(keep):
            pass
    assert first.name == "statuses"
    with place(keep) as (_, store):
        with store.table("statuses_10000_1", _not_again) as table:
            assert table.truth == first.truth
            assert table.heap_bytes == first.heap_bytes
        with psycopg.connect(table.dsn, autocommit=True) as connection:
            connection.execute(
                "DELETE FROM statuses WHERE id IN (SELECT id FROM statuses LIMIT 900)"
            )
            connection.execute("VACUUM (DISABLE_PAGE_SKIPPING) statuses")
        with pytest.raises(UnfitCache, match="9,100 rows"), statuses(store, 10_000, 1):
            pass
    manifest = json.loads((keep / MANIFEST).read_text("utf-8"))
    (keep / MANIFEST).write_text(json.dumps({**manifest, "manifest_version": 0}), "utf-8")
    with pytest.raises(UnfitCache, match="not of version"), place(keep):
        pass
    assert not (keep / "data" / "postmaster.pid").exists()


def _not_again(_dsn: str) -> Table:
    pytest.fail("built although it was kept")


def test_kept_tables_need_a_server_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGMEND_LAB_DSN", "host=/nowhere")
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--keep", "/nowhere"])
    assert command.main() == 2
    assert "unset PGMEND_LAB_DSN" in capsys.readouterr().err

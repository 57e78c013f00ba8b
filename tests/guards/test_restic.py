"""The example of restic in docs/guards/command.md, run as it stands there."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from .backing import flipped, needed, run
from .clusters import DEBIAN_15, Cluster, cluster, with_shop
from .conftest import Guarded
from .paging import block

PAGE = "guards/command.md"


@pytest.fixture(scope="module")
def old() -> Iterator[Cluster]:
    needed("restic", str(DEBIAN_15 / "postgres"))
    with cluster(DEBIAN_15) as made:
        yield with_shop(made)


@pytest.fixture
def guard(tmp_path: Path, old: Cluster) -> Guarded:
    """Give the command beside the page's settings, with the paths of this test."""
    program, password = tmp_path / "pgmend-restic", tmp_path / "password"
    program.write_text(block(PAGE, "python", "pg_basebackup"))
    program.chmod(0o755)
    password.write_text("open-sesame-of-restic")
    password.chmod(0o600)
    text = block(PAGE, "toml", "guard.providers.restic")
    assert text.count("/usr/local/bin/pgmend-restic") == 6
    text = text.replace("/usr/local/bin/pgmend-restic", str(program))
    text = text.replace("/etc/pgmend/restic.password", str(password))
    (tmp_path / "pgmend.toml").write_text(text)
    guarded = Guarded(tmp_path, old)
    guarded.env |= {"RESTIC_REPOSITORY": str(tmp_path / "repo"),
                    "RESTIC_CACHE_DIR": str(tmp_path / "cache"),
                    "PATH": f"{DEBIAN_15}:{guarded.env['PATH']}"}
    run("restic", "--repo", str(tmp_path / "repo"), "--password-file", str(password), "init")
    return guarded


def take(guard: Guarded, *more: str) -> str:
    done = guard("take", *guard.db, "--provider", "restic", "-q", *more)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_restic_goes_from_the_snapshot_to_the_gate(guard: Guarded) -> None:
    """Taken, verified, drilled, required; a flipped byte of the repository closes the gate."""
    receipt = take(guard)
    assert guard("verify", receipt).returncode == 0
    drilled = guard("verify", receipt, "--drill")
    assert drilled.returncode == 0, drilled.stdout
    assert "2 tables, 5,000 rows" in drilled.stdout
    assert guard.required("--drilled").returncode == 0
    packs = (path for path in (guard.where / "repo" / "data").rglob("*") if path.is_file())
    pack = max(packs, key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    with flipped(pack, pack.stat().st_size // 2):
        assert guard("verify", receipt).returncode == 1
        assert "it failed when it was verified" in guard.refused()
    assert guard("verify", receipt).returncode == 0
    failed = guard("run", *guard.db, "-q", "--", "false")
    assert failed.returncode == 1
    assert re.search(r"restic restore [0-9a-f]{64} --target", failed.stderr)
    assert "open-sesame-of-restic" not in drilled.stdout + drilled.stderr + failed.stderr


def test_an_older_snapshot_of_restic_is_removed(guard: Guarded) -> None:
    first = Path(take(guard))
    second = Path(take(guard, "--keep", "1"))
    assert not first.exists()
    assert second.exists()
    status = guard("status", "--receipts", str(guard.receipts), "--json")
    assert (status.returncode, status.stdout.count('"state": "verified"')) == (0, 1), status.stdout


def test_the_settings_of_every_example_can_be_read() -> None:
    """Those that cannot be run here at least say what the provider understands."""
    from migrations_check.snapshots.settings import open_provider

    for text in re.findall(r"^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        for name, facts in tomllib.loads(text)["guard"]["providers"].items():
            facts.pop("secrets", None)
            assert open_provider(name, {name: facts})[1].name == name

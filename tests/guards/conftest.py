from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .clusters import Cluster, cluster, with_shop

ROOT = Path(__file__).parents[2]


class Guarded:
    """The command, a place for snapshots and one for receipts, and a cluster to save."""

    def __init__(self, where: Path, saved: Cluster) -> None:
        self.where = where
        self.cluster = saved
        self.to, self.receipts = where / "to", where / "receipts"
        dropped = ("PG", "DATABASE_URL", "PYTHON")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
        self.env |= {"PYTHONPATH": str(ROOT), "PGPASSFILE": "/nonexistent"}

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-W", "error", "-m", "cli", "guard", *words]

    def __call__(self, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*words), cwd=self.where, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=120, check=False, **{"env": self.env} | options,
        )

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(*words), cwd=self.where, env=self.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options,
        )

    def settings(self, text: str) -> None:
        (self.where / "pgmend.toml").write_text(text)

    def install(self) -> None:
        """Make `pgmend` a program that a shell finds."""
        programs = self.where / "bin"
        programs.mkdir()
        command = programs / "pgmend"
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m cli "$@"\n')
        command.chmod(0o755)
        self.env["PATH"] = f"{programs}:{self.env['PATH']}"

    @property
    def db(self) -> list[str]:
        return ["-d", self.cluster.dsn("shop"), "--receipts", str(self.receipts)]

    def take(self, provider: str, *more: str) -> Path:
        """Take a snapshot; return its receipt."""
        done = self("take", *self.db, "--provider", provider, "--to", str(self.to), "-q", *more)
        assert done.returncode == 0, done.stderr
        (line,) = done.stdout.splitlines()
        return Path(line)

    def taken(self, provider: str) -> Path:
        """Take a snapshot and verify it; return its receipt."""
        receipt = self.take(provider)
        assert self("verify", str(receipt)).returncode == 0
        return receipt

    def required(self, *more: str) -> subprocess.CompletedProcess[str]:
        return self("require", *self.db, *more)

    def refused(self, *more: str) -> str:
        """Require a snapshot in vain; return why."""
        done = self.required(*more)
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr.startswith("pgmend: refused: ")
        return done.stderr


@pytest.fixture(scope="session")
def saved() -> Iterator[Cluster]:
    """Give a cluster with a shop that nobody changes."""
    with cluster() as made:
        yield with_shop(made)


@pytest.fixture
def own() -> Iterator[Cluster]:
    """Give a cluster with a shop, of the test's own."""
    with cluster() as made:
        yield with_shop(made)


@pytest.fixture
def guard(tmp_path: Path, saved: Cluster) -> Guarded:
    return Guarded(tmp_path, saved)

"""Benchmarks as commands of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]


def bench(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m`` with temporary files of its own, and find none of them left."""
    # The lab's socket needs a short path, so it is not below pytest's.
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        Path(place).chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", module, *arguments],
            cwd=ROOT, env={**os.environ, "TMPDIR": place}, capture_output=True, text=True,
            check=False, timeout=300,
        )  # fmt: skip
        assert list(Path(place).iterdir()) == []
    return done

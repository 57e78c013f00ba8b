"""PyPI's unrelated project of the same import name is noticed before any of it runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli.exits import ExitCode

from .conftest import Command


@pytest.mark.parametrize("kind", ["package", "module", "overwritten"])
def test_a_foreign_dedupe_is_one_sentence(offline: Command, tmp_path: Path, kind: str) -> None:
    """Scenario: another package named ``dedupe`` stands first, whole or as remains.
    Outcome: exit code 2, one sentence and a hint; not a line of it was run.
    """
    other = tmp_path / "site"
    if kind == "module":
        other.mkdir()
        (other / "dedupe.py").write_text("print('ran')\n")
    else:
        (other / "dedupe").mkdir(parents=True)
        (other / "dedupe" / "__init__.py").write_text("print('ran')\nclass Dedupe: ...\n")
        if kind == "overwritten":
            # Installed into the same environment later: our other modules are still there.
            (other / "dedupe" / "errors.py").write_text("class DedupeError(Exception): ...\n")
    path = os.pathsep.join([str(other), offline.env["PYTHONPATH"]])
    done = offline("--version", env={"PYTHONPATH": path})
    assert done.returncode == ExitCode.USAGE
    assert done.stdout == ""
    error, hint = done.stderr.splitlines()
    assert error.startswith("pgmend: error: the package 'dedupe' in ")
    assert str(other) in error
    assert "another project's" in error
    assert "virtual environment of its own" in hint

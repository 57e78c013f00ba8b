"""Pages of the documentation as tests run them: their blocks, and names of this machine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from .conftest import ROOT, Guarded


class Renamed:
    """Puts names of this machine in the place of those in a page, and knows which it met."""

    def __init__(self, names: Mapping[str, object]) -> None:
        self.names = {theirs: str(ours) for theirs, ours in names.items()}
        self.met: set[str] = set()

    def __call__(self, text: str) -> str:
        def ours(found: re.Match[str]) -> str:
            self.met.add(found[0])
            return self.names[found[0]]

        longest_first = sorted(self.names, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, longest_first)), ours, text)

    def add(self, names: Mapping[str, object]) -> None:
        self.names |= {theirs: str(ours) for theirs, ours in names.items()}

    def unmet(self) -> set[str]:
        return set(self.names) - self.met


def blocks(page: str, kind: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text("utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def block(page: str, kind: str, holding: str = "") -> str:
    """Return the only block of a page of that kind that holds a text."""
    (found,) = (one for one in blocks(page, kind) if holding in one)
    return found


def shell(machine: Guarded, text: str, where: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-e"], input=text, cwd=where, env=machine.env, capture_output=True, text=True,
        timeout=240, check=False,
    )

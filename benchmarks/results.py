"""The figures as one JSON object: written for programs, and read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .contest import Outcome
from .failure import BenchmarkFailed
from .figures import Contest, Figures
from .targets import verdicts

FORMAT_VERSION = 1


def as_dict(figures: Figures) -> dict[str, Any]:
    """Return everything that was measured."""
    return {
        "format_version": FORMAT_VERSION,
        "made_at": figures.made_at,
        # Where the tables are kept is nobody else's business.
        "asked": {**asdict(figures.asked), "keep": figures.asked.keep is not None},
        "machine": asdict(figures.machine),
        "contests": [_contest(contest) for contest in figures.contests],
        "verdicts": [asdict(verdict) for verdict in verdicts(figures)],
        "as_planted": not figures.wrong,
    }


def as_json(figures: Figures) -> str:
    """Return one JSON object on one line."""
    return json.dumps(as_dict(figures))


def write(path: Path, figures: Figures) -> None:
    """Write the JSON object to a file."""
    replace(path, as_dict(figures))


def replace(path: Path, found: Mapping[str, Any]) -> None:
    """Write results to a file, which is the old one or the new one at any moment."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    unfinished.replace(path)


def load(path: Path) -> dict[str, Any]:
    """Read what ``write`` wrote. Raises BenchmarkFailed where the file has another format."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BenchmarkFailed(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict) or found.get("format_version") != FORMAT_VERSION:
        raise BenchmarkFailed(f"{path} has no results of format {FORMAT_VERSION}")
    return dict(found)


def _contest(contest: Contest) -> dict[str, Any]:
    return {
        "table": contest.table,
        "rows": contest.rows,
        "keyed_rows": contest.keyed_rows,
        "heap_bytes": contest.heap_bytes,
        "truth": asdict(contest.truth),
        "outcomes": [_outcome(outcome) for outcome in contest.outcomes],
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {**asdict(outcome), "groups": outcome.found.groups if outcome.found else None}

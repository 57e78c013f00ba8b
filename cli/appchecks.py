"""From the command line to a check of an application's database, and how its answer looks."""

from __future__ import annotations

from typing import Any

from dedupe import plain_name
from migrations_check import AppAsked, Migrated, Report

from .checks import print_report, report_facts
from .config import Config
from .options import Connecting
from .output import heard, one_line, print_json
from .serverchecks import place_of, teller


def app_asked(config: Config, where: Connecting, to: str, given: dict[str, Any]) -> AppAsked:
    """Take a check's options out of a command's arguments."""
    return AppAsked(
        schema=given["schema"],
        quick=given["quick"],
        jobs=config.get("scan", "jobs", given["jobs"], 2),
        # An unfinished one goes on only with the same release.
        run=given["run"] or place_of(config, where, f"check-app-{plain_name(to)}"),
        env=given["env"],
        redis=given["redis"],
        told=teller(quiet=given["quiet"]),
    )


@heard
def print_migrated(found: Migrated, report: Report, *, as_json: bool) -> None:
    """Print where the database is, what will run, and the findings."""
    if as_json:
        print_json({
            **report_facts(report),
            "installed": found.installed,
            "to": found.to,
            "table": found.table,
            "pending": found.pending,
            "unknown": found.unknown,
        })
        return
    if found.installed is not None:
        print(f"{one_line(found.table)}: Mastodon {found.installed} -> {found.to}")
    else:
        print(one_line(found.table))
    print(f"to run: {_spanned(found.pending)}")
    if found.unknown:
        of = "".join(f", {count} of them of {name}" for name, count in found.forks.items())
        what = "without a file" if found.installed is None else "of others"
        print(f"{what}: {one_line(_spanned(found.unknown))}{of}")
    print_report(report, as_json=False)


def _spanned(versions: tuple[str, ...]) -> str:
    if len(versions) < 2:
        return versions[0] if versions else "nothing"
    return f"{len(versions):,}, {versions[0]} to {versions[-1]}"

"""``pgmend demo``: the whole story on a server of its own."""

from __future__ import annotations

import click

from ..config import settings_option
from ..demo_story import tell
from ..exits import ExitCode


@click.command("demo", short_help="Rehearse all of it on a server of its own.")
@click.option("--rows", type=click.IntRange(min=1000), default=300_000, show_default=True)
@settings_option
def demo_command(rows: int) -> int:
    """Damage an index for real, scan, kill the scan, go on, repair, and take it back."""
    return ExitCode.OK if tell(rows) else ExitCode.FAILURE

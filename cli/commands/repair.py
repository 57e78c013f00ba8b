"""``pgmend repair``: do what was planned, journaled, resumably."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dedupe import Plan, repair

from .. import outcomes
from ..config import settings_option
from ..guarding import gate_options, snapshot_reason
from ..options import execute_option, journal_options, json_option, progress_options, taken_from
from ..plans import work_text
from ..repairing import Server, ended, opened, run_in, triggers_setting, watched


@click.command("repair", short_help="Show what a plan would do; with --execute, do it.")
@click.argument("run", type=click.Path(path_type=Path))
@execute_option
@gate_options
@click.option(
    "--triggers", type=click.Choice(["fire", "off"]), help="Whether triggers fire [fire]."
)
@click.option("--nice", type=click.FloatRange(0), help="Sleep this share of each batch's time [0].")
@click.option(
    "--max-lag", type=click.FloatRange(0), metavar="SECONDS",
    help="Pause while a standby is further behind.",
)
@click.option("--create-index", metavar="NAME", help="Make this index where the key has none.")
@click.option("--yes", is_flag=True, help="The server has the disk that the plan tells.")
@click.option("--lock", is_flag=True, help="Keep writers out of the table for the last round.")
@click.option(
    "--despite-unreadable", is_flag=True, help="Though the scan skipped rows it could not read."
)
@json_option
@progress_options
@journal_options
@settings_option
@click.pass_context
def repair_command(
    context: click.Context,
    /,
    *,
    run: Path,
    execute: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    despite_unreadable: bool,
    lock: bool,
    **given: Any,
) -> int:
    """Repair what was planned in RUN; exit code 1 if groups are left.

    Without --execute nothing is written. The same command goes on after a stop or a kill,
    and changes nothing once all is done.
    """
    config = context.obj
    where = taken_from(given, config)
    triggers = triggers_setting(config, given["triggers"])
    plan = Plan.open(run_in(run).path)
    meant = opened(plan.run, str(run), where)
    server = Server.of(meant.database)
    server.announce(meant.id, work_text(plan))
    reason = snapshot_reason(config, given, server, meant.database, execute=execute)
    result = watched(
        plan.table,
        lambda stop, show: repair(
            plan,
            db=meant.database,
            execute=execute,
            reason=reason,
            triggers=triggers,
            despite_unreadable=despite_unreadable,
            nice=float(config.get("repair", "nice", given["nice"], default=0.0)),
            max_lag=config.get("repair", "max_lag", given["max_lag"]),
            lock=lock,
            create_index=given["create_index"],
            assume_disk=given["yes"],
            on_progress=show,
            stop=stop,
        ),
        quiet=quiet,
        verbose=verbose,
    )
    return ended(
        result,
        meant,
        as_json=as_json,
        facts=lambda r: outcomes.repair_facts(r, meant),
        show=lambda r: outcomes.print_repair(r, plan, meant),
        found=lambda r: r.status == "left",
    )

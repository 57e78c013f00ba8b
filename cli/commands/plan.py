"""``pgmend plan``: decide which row of each group stays, and what hangs on the others."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from dedupe import Plan, plan
from dedupe.errors import UsageError

from .. import output, planfiles, plans
from ..config import settings_option
from ..exits import ExitCode
from ..options import connection_options, json_option, taken_from
from ..policyfile import rules
from ..repairing import opened, run_in

_FILE = click.Path(path_type=Path)


@click.command("plan", short_help="Decide which row of each group stays.")
@click.argument("run", type=_FILE)
@click.option(
    "--keep", multiple=True, metavar="EXPR[ asc|desc]",
    help="Which row stays: oldest, newest, most-referenced, or the first by an expression.",
)
@click.option(
    "--loser", metavar="FATE",
    help="What happens to the others: delete, rename:COLUMN, blank:COLUMN, report [delete].",
)
@click.option(
    "--merge", multiple=True, metavar="COLUMN=FUNCTION",
    help="What the row that stays takes from the others: first, sum, min, max, ...",
)
@click.option(
    "--on-collision", multiple=True, metavar="TABLE=POLICY",
    help="Which row of a child table stays where two become equal [survivor].",
)
@click.option(
    "--accept-loss", multiple=True, metavar="TABLE.COLUMN",
    help="Rows that point from here may go with the row they point at.",
)
@click.option("--policy", type=_FILE, metavar="FILE", help="All of these rules, and more, in TOML.")
@click.option("--key", metavar="NAME", help="The key, if the run has groups of several.")
@click.option("--only", multiple=True, type=click.IntRange(1), metavar="N", help="This group.")
@click.option("--exclude", multiple=True, type=click.IntRange(1), metavar="N", help="Not this one.")
@click.option("--max-groups", type=click.IntRange(1), help="So many groups at most.")
@click.option("--samples", type=click.IntRange(0), default=3, help="Show so many groups [3].")
@click.option(
    "--export", "export_to", type=_FILE, metavar="FILE",
    help="Write the plan, or the one that is there: CSV if the name says so, else JSONL.",
)
@click.option(
    "--import", "import_from", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE", help="Take over which rows stay from an exported file.",
)
@json_option
@connection_options
@settings_option
@click.pass_context
def plan_command(
    context: click.Context,
    /,
    *,
    run: Path,
    policy: Path | None,
    samples: int,
    export_to: Path | None,
    import_from: Path | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Plan the repair of a finished RUN; reads the database, writes only the plan in RUN."""
    where = taken_from(given, context.obj)
    narrowing = {name: given.pop(name) for name in ("key", "only", "exclude", "max_groups")}
    ruled = policy is not None or any(given.values()) or any(narrowing.values())
    repair = shlex.join(["pgmend", "repair", str(run)])
    if import_from is not None:
        if ruled:
            raise UsageError("--import changes no rule", hint="Give it alone: the plan has them.")
        made = planfiles.read_plan(run_in(run), import_from)
    elif export_to is not None and not ruled:
        made = Plan.open(run_in(run).path)
    else:
        said = rules(policy, **given)
        scanned = run_in(run)
        meant = opened(scanned, str(run), where)
        repair = meant.command("repair")
        made = plan(scanned, db=meant.database, **narrowing, **said)
    if export_to is not None:
        planfiles.write_plan(made, export_to)
    if as_json:
        output.print_json(plans.plan_facts(made, samples))
    else:
        plans.print_plan(made, samples)
        print(f"Nothing was changed in the database. To repair: {repair}")
    return ExitCode.OK

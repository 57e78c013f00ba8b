"""The command group: options of all commands, and how errors become messages."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, cast

import click

from dedupe import DedupeError

from . import commands, output
from .exits import ExitCode, code_of


class _ClosedPipe(Exception):
    """Whoever read the result has what they wanted."""


class _Commands(click.Group):
    """Commands whose closed pipes and interrupts reach ``run`` as they are.

    click itself ends with 1 at a closed pipe, which is the code of findings, and
    prints an empty line at an interrupt. A command is imported when it is asked for.
    """

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Name all commands, in the order of the help."""
        return [*commands.MODULES]

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command by its name."""
        return commands.load(cmd_name) if cmd_name in commands.MODULES else None

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Read the command line."""
        try:
            return super().make_context(*arguments, **options)
        except KeyboardInterrupt as error:
            raise click.Abort from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ClosedPipe from error
        except KeyboardInterrupt as error:
            raise click.Abort from error


@click.group(
    cls=_Commands,
    name="pgmend",
    # -h names the host, as in psql.
    context_settings={"help_option_names": ["--help"], "max_content_width": 100},
    no_args_is_help=False,
)
@click.version_option(
    None, "-V", "--version", package_name="pgmend", message="pgmend %(version)s"
)
@click.option("--config", metavar="FILE", help="Settings file; else $PGMEND_CONFIG, ./pgmend.toml.")
@click.pass_context
def pgmend(context: click.Context, config: str | None) -> None:
    """Find and repair every row that violates a PostgreSQL unique key, whatever its index says.

    Scan, plan, repair, verify; undo takes a repair back. Nothing is written to a database
    without --execute.

    Exit codes: 0 nothing found, 1 findings exist, 2 usage, 3 stopped and can go
    on, 4 refused for safety, 5 failure.
    """
    # Every command loads it, for it may be said behind the command, too.
    context.obj = config


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; errors are told on stderr."""
    for stream in (sys.stdout, sys.stderr):
        # Names and values of a database need not be valid in the terminal's encoding.
        getattr(stream, "reconfigure", lambda **_: None)(errors="backslashreplace")
    try:
        code = pgmend.main(list(arguments), prog_name="pgmend", standalone_mode=False)
        # Not one of ours where a command passes on that of another program.
        return int(code or ExitCode.OK)
    except DedupeError as error:
        reasons = cast("tuple[str, ...]", error.facts.get("reasons", ()))
        output.complain(error.message, error.hint, reasons)
        return code_of(error)
    except click.exceptions.NoArgsIsHelpError as error:
        # Its message is the whole help of a group, which is asked for by --help.
        output.complain("Missing command.", f"Try: {error.ctx.command_path} --help")
        return ExitCode.USAGE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        output.complain(
            error.format_message(), f"Try: {context.command_path} --help" if context else None
        )
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        output.note("pgmend: stopped")
        return ExitCode.STOPPED
    except (BrokenPipeError, _ClosedPipe):
        return ExitCode.OK
    except OSError as error:
        output.complain(f"input or output failed: {error}")
        return ExitCode.FAILURE

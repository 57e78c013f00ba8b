"""Carries a recipe out in a process that kills itself at one of its statements."""

from __future__ import annotations

import os
import signal
import sys
import threading
from importlib import import_module
from typing import Any

import psycopg

from dedupe import load_recipe, run_recipe

#: what has to be less than it is, so that a test's small tables are surveyed
SIZES = (("survey", "_LEAST_BYTES"), ("involved", "_BYTES_AN_ID"))


def survey_small_tables() -> None:
    """Let surveys take tables that would be read as quickly."""
    for module, name in SIZES:
        setattr(import_module(f"dedupe.repair.{module}"), name, 0)


def main(name: str, place: str, dsn: str, kill_at: int, *, live: bool) -> None:
    """Carry the recipe out; SIGKILL before statement ``kill_at``, of whatever thread."""
    execute, turn = psycopg.Connection.execute, threading.Lock()
    asked = 0

    def counted(self: Any, *given: Any, **named: Any) -> Any:
        nonlocal asked
        with turn:
            asked += 1
            if asked == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return execute(self, *given, **named)

    psycopg.Connection.execute = counted  # type: ignore[method-assign]
    survey_small_tables()
    done = run_recipe(
        load_recipe(name), place, dsn, live=live, defaults=True, execute=True, reason="a test"
    )
    print(done.status, asked)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), live=sys.argv[5] == "live")

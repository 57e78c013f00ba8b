"""The process that carries the recipe out: ``python -m benchmarks.recipe.step DSN PLACE``.

Prints a JSON object: the seconds without the start of the process, and what became of it.
"""

from __future__ import annotations

import json
import sys
import time

from dedupe import load_recipe, run_recipe

from ..measure import OWN_NAME


def main() -> None:
    """Carry the recipe for Mastodon out by its defaults, and tell."""
    dsn, place = sys.argv[1:]
    started = time.monotonic()
    seconds: dict[str, float] = {}
    last: tuple[str, float] | None = None

    def note(what: str, event: object) -> None:
        nonlocal last
        now, phase = time.monotonic(), f"{what}: {getattr(event, 'phase', 'scan')}"
        if last is not None:
            seconds[last[0]] = seconds.get(last[0], 0.0) + now - last[1]
        last = phase, now

    done = run_recipe(
        load_recipe("mastodon"), place, dsn,
        defaults=True, execute=True, reason=OWN_NAME, on_progress=note,
    )
    print(
        json.dumps(
            {
                "seconds": time.monotonic() - started,
                "status": done.status,
                "phases": seconds,
                "steps": {step.id: [step.groups, step.losers, step.left] for step in done.steps},
                "counted": done.counted,
            }
        )
    )


if __name__ == "__main__":
    main()

"""Rules about an application's database: one a file, each with a page in docs/rules."""

from __future__ import annotations

from ..scene import Rule
from . import app_keys, app_migrations, app_requirements, app_steps

#: in the order in which a report tells of them
RULES: tuple[Rule, ...] = (
    app_migrations.RULE,
    app_keys.RULE,
    app_requirements.RULE,
    app_steps.RULE,
)

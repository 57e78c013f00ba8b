"""Checks around an upgrade: what will break in it, and whether a way back exists.

It may import ``dedupe``, and ``dedupe`` never imports it.
"""

from __future__ import annotations

from .app.checking import Composed, check_compose
from .app.rules import RULES as APP_RULES
from .app.writing import revert_compose, write_compose
from .findings import Finding, Ignored, Report, Unseen
from .releases import RULES as RELEASE_RULES
from .releases import AppAsked, Migrated, check_alembic, check_mastodon, check_rails
from .server import NEWEST as NEWEST_MAJOR
from .server import RULES, Asked, Checked, check_server, unfinished_keys
from .snapshots.gate import Demand, duration, require_snapshot, required, spoken
from .snapshots.guard import Guard
from .snapshots.provider import Snapshot, Step
from .snapshots.receipts import Kept, Receipt, Result, load
from .snapshots.status import Standing, Status, status

#: names of the rules about servers
SERVER_RULES = tuple(rule.name for rule in RULES)
#: names of the rules about compose files
COMPOSE_RULES = tuple(rule.name for rule in APP_RULES)
#: names of the rules about databases of applications
DATABASE_RULES = tuple(rule.name for rule in RELEASE_RULES)

__all__ = [
    "COMPOSE_RULES",
    "DATABASE_RULES",
    "NEWEST_MAJOR",
    "SERVER_RULES",
    "AppAsked",
    "Asked",
    "Checked",
    "Composed",
    "Demand",
    "Finding",
    "Guard",
    "Ignored",
    "Kept",
    "Migrated",
    "Receipt",
    "Report",
    "Result",
    "Snapshot",
    "Standing",
    "Status",
    "Step",
    "Unseen",
    "check_alembic",
    "check_compose",
    "check_mastodon",
    "check_rails",
    "check_server",
    "duration",
    "load",
    "require_snapshot",
    "required",
    "revert_compose",
    "spoken",
    "status",
    "unfinished_keys",
    "write_compose",
]

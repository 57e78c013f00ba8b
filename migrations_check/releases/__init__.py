"""Checks of an application's database before an upgrade: its migrations, and what they need."""

from __future__ import annotations

from .checking import Migrated, check_alembic, check_mastodon, check_rails
from .rules import RULES
from .scene import AppAsked

__all__ = ["RULES", "AppAsked", "Migrated", "check_alembic", "check_mastodon", "check_rails"]

"""Checks of a server before an upgrade: one rule a file, each with a page in docs/rules."""

from __future__ import annotations

from .checking import Checked, check_server
from .keyscan import unfinished_keys
from .majors import NEWEST
from .registry import RULES
from .rule import Asked, Look, Rule

__all__ = ["NEWEST", "RULES", "Asked", "Checked", "Look", "Rule", "check_server", "unfinished_keys"]

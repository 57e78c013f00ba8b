"""Rules about compose files: one a file, each with a page in docs/rules."""

from __future__ import annotations

from ..scene import Rule
from . import (
    compose_database_major,
    compose_latest,
    compose_libc,
    compose_versions,
    compose_volume_path,
)

#: in the order in which a report tells of them
RULES: tuple[Rule, ...] = (
    compose_database_major.RULE,
    compose_volume_path.RULE,
    compose_libc.RULE,
    compose_latest.RULE,
    compose_versions.RULE,
)

"""A Mastodon instance to break and to repair, with a manifest that knows the truth."""

from __future__ import annotations

from .building import create_schema, make_instance
from .checking import check
from .manifest import Manifest

__all__ = ["Manifest", "check", "create_schema", "make_instance"]

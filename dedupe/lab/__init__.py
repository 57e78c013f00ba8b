"""A real server with real damage: for the demo, rehearsals, tests and benchmarks."""

from __future__ import annotations

from .comparator import comparator_class
from .damage import Damage, damage, mark_unique
from .planted import Groups, Planted
from .proof import Proof, prove
from .server import Server, server
from .tables import Manifest, Shape, build, build_favourites, build_statuses

__all__ = [
    "Damage",
    "Groups",
    "Manifest",
    "Planted",
    "Proof",
    "Server",
    "Shape",
    "build",
    "build_favourites",
    "build_statuses",
    "comparator_class",
    "damage",
    "mark_unique",
    "prove",
    "server",
]

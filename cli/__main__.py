"""``python -m cli`` is the ``pgmend`` command."""

from __future__ import annotations

from .main import main

main()

"""A directory for a server's socket: its path has to be short."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PORT = 5432
#: longest path of a socket, the terminating zero left out
_MOST_BYTES = 106


@contextmanager
def socket_directory(prefix: str) -> Iterator[Path]:
    """Give a directory below the temporary one, or below /tmp where that is too deep."""
    above = tempfile.gettempdir()
    if len(os.fsencode(f"{above}/{prefix}12345678/.s.PGSQL.{PORT}.lock")) > _MOST_BYTES:
        above = "/tmp"  # noqa: S108 -- mkdtemp makes the directory in it
    with tempfile.TemporaryDirectory(prefix=prefix, dir=above) as place:
        yield Path(place)

"""Scratch: arrays that are kept from one use to the next.

Fresh memory for every run or range costs more than all that is done in it: the system
clears each page and hands it out one by one.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

_Item = TypeVar("_Item", bound=np.generic)


class Scratch:
    """Arrays by name; each holds whatever its last use left in it. For one thread at a time."""

    def __init__(self) -> None:
        self._kept: dict[str, npt.NDArray[Any]] = {}

    def array(self, name: str, size: int, kind: type[_Item]) -> npt.NDArray[_Item]:
        """Return the array of that name, of ``size`` items; it is used up by the next call."""
        kept = self._kept.get(name)
        if kept is None or len(kept) < size:
            # An eighth more, so that runs that grow a little do not each ask for more.
            kept = self._kept[name] = np.empty(size + size // 8, kind)
        return kept[:size]

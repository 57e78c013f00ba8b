"""On which of DigitalOcean's volumes the parts of a cluster lie, as this machine mounts them.

A directory belongs to the block device that its file system is on, whatever symbolic
links, mounts and bind mounts lead there. Reads /dev/disk/by-id, /proc/self/mountinfo, and
of the cluster its directories and the first bytes of its pg_control.
Source: https://docs.digitalocean.com/products/volumes/how-to/mount/ (names of devices).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

#: what the name of a volume follows in the names of its devices, which last over a restart
DEVICES = "/dev/disk/by-id/scsi-0DO_Volume_"
#: what a cluster cannot start without; each may be a link or a mount of its own
_PARTS = ("", "global", "base", "pg_wal", "pg_xact", "pg_multixact")


def uncovered(data: Path | None, system_identifier: int, volume: str) -> tuple[str, ...]:
    """Say why a snapshot of ``volume`` would not hold the whole cluster; empty when it would.

    What cannot be seen counts as not covered: a server elsewhere, a directory that may not
    be read, a device that is no volume.
    """
    if data is None:
        return ("the role may not see where the data directory is",)
    lying: dict[str, Path] = {}
    try:
        with (data / "global" / "pg_control").open("rb") as control:
            found = int.from_bytes(control.read(8), sys.byteorder)
        for part in _parts(data):
            lying.setdefault(_disk(part) or f"device {_number(part)}", part)
    except OSError as error:
        where = error.filename or data
        return (f"nobody knows on which volume {where} lies, seen from here: {error.strerror}",)
    if found != system_identifier:
        return (f"{data} on this machine holds another cluster, with system identifier {found}",)
    whole = rf"{re.escape(volume)}(-part[0-9]+)?"
    strange = [
        f"{part} does not lie on the volume {volume}, but on {disk}"
        for disk, part in lying.items()
        if not re.fullmatch(whole, disk)
    ]
    if len(lying) > 1:
        strange.append(
            f"the cluster spans {', '.join(sorted(lying))}; snapshots of several disks are of"
            " different moments and do not fit together"
        )
    return tuple(strange)


def mounted(data: Path | None) -> tuple[str, str] | None:
    """Return where the file system of a directory is mounted, and its device's name.

    The name without ``DEVICES``. None where it is on no volume, is not mounted as a whole
    here, or cannot be looked at.
    """
    if data is None:
        return None
    try:
        disk, number = _disk(data), _number(data)
        lines = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        _, _, device, root, at, *_ = line.split(" ")
        if disk and device == number and root == "/":
            # Spaces and the like are told in octal.
            return re.sub(r"\\([0-7]{3})", lambda byte: chr(int(byte[1], 8)), at), disk
    return None


def _parts(data: Path) -> Iterator[Path]:
    """Yield the directories of a cluster, links resolved, tablespaces and databases too."""
    for name in _PARTS:
        yield (data / name).resolve(strict=True)
    for holder in ("base", "pg_tblspc"):
        for entry in sorted((data / holder).iterdir()):
            yield entry.resolve(strict=True)


def _disk(path: Path) -> str | None:
    """Return the name of the volume, or of its partition, that a file is on."""
    device, named = path.stat().st_dev, Path(DEVICES)
    for link in named.parent.glob(f"{named.name}*"):
        if link.stat().st_rdev == device:
            return link.name.removeprefix(named.name)
    return None


def _number(path: Path) -> str:
    device = path.stat().st_dev
    return f"{os.major(device)}:{os.minor(device)}"

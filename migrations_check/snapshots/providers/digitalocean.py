"""Snapshots of a DigitalOcean volume that holds a whole cluster.

One is what the disk would hold after a power failure: PostgreSQL recovers from it as from
a crash, with fsync and full_page_writes on, and with everything on one volume.
Source: https://docs.digitalocean.com/products/volumes/how-to/create-snapshot/
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec

from dedupe.errors import ProgramMissing, RestoreByHand

from .. import mounts
from ..cluster import Cluster
from ..provider import Proof, Scratch, Snapshot, Step, Told
from ..settings import Access, secret

if TYPE_CHECKING:
    from ..volumes import Volumes

_API = r"^(https://[A-Za-z0-9.-]+|http://(127\.0\.0\.1|\[::1\]|localhost))(:[0-9]{1,5})?$"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which volume, and where the token is; a token itself fits none of the patterns."""

    volume: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
    region: Annotated[str, msgspec.Meta(pattern=r"^[a-z]{3}[0-9]$")]
    token_env: Annotated[str, msgspec.Meta(pattern=r"^[A-Z_][A-Z0-9_]*$")] | None = None
    token_file: Annotated[str, msgspec.Meta(pattern=r"^[~/]")] | None = None
    #: where this machine sees the data directory, when the server sees it elsewhere
    data_directory: Annotated[str, msgspec.Meta(pattern="^/")] | None = None
    #: seconds until a snapshot has to be finished, and that a call may be made to wait
    patience: Annotated[float, msgspec.Meta(gt=0, le=86400)] = 600
    #: the token goes there: over TLS, or to this machine
    endpoint: Annotated[str, msgspec.Meta(pattern=_API)] = "https://api.digitalocean.com"


def open_provider(settings: Settings, access: Access) -> DigitalOcean:
    """Return the provider. Raises ProgramMissing without pydo, ProviderSettingsError."""
    try:
        from ..volumes import Volumes  # noqa: PLC0415 -- what it needs is in an extra
    except ModuleNotFoundError as error:
        raise ProgramMissing(
            f"the Python package {error.name}, needed to ask DigitalOcean, is not installed",
            hint="pip install 'pgmend[digitalocean]'", program=error.name,
        ) from error
    token = partial(secret, access.name, "token", env=settings.token_env, file=settings.token_file)
    token()
    api = Volumes(provider=access.name, token=token, endpoint=settings.endpoint,
                  patience=settings.patience, name=settings.volume, region=settings.region)
    return DigitalOcean(name=access.name, settings=settings, api=api)


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitalOcean:
    """One volume and its snapshots."""

    name: str
    settings: Settings
    api: Volumes

    def lacks(self, cluster: Cluster) -> tuple[str, ...]:
        """Say what a snapshot of the volume would miss, and what makes it useless."""
        volume = self.api.volume()
        lacking = [f"{name} is off: files of a snapshot of a running server may not fit together"
                   for name in ("fsync", "full_page_writes") if not getattr(cluster, name)]
        if not volume.droplet_ids:
            lacking.append(f"the volume {volume.name} is attached to no droplet: none runs on it")
        data = self._data(cluster)
        return (*lacking, *mounts.uncovered(data, cluster.system_identifier, volume.name))

    def take(self, cluster: Cluster, told: Told) -> Snapshot:
        """Take a snapshot and wait, ``patience`` at most, until it is finished."""
        volume = self.api.volume()
        told(Step(doing=f"asking for a snapshot of {volume.name}"))
        made = self.api.finished(self.api.take(volume, cluster), volume, told)
        return made.of(volume, self._mount(cluster))

    def list(self) -> tuple[Snapshot, ...]:
        """Return all snapshots of the volume; those that others took tell no cluster."""
        volume = self.api.volume()
        return tuple(s.of(volume, {}) for s in self.api.snapshots(volume.id))

    def inspect(self, snapshot: Snapshot, told: Told) -> Proof:
        """Look at what DigitalOcean tells of it; its contents cannot be read from here."""
        told(Step(doing=f"asking for the snapshot {snapshot.id}"))
        if (found := self.api.snapshot(snapshot.id)) is None:
            return Proof(passed=False, findings=("it is gone: DigitalOcean does not know it",))
        wrong = found.changed(snapshot) + ([found.unfinished] if found.unfinished else [])
        looked = (f"DigitalOcean holds {found.size_gigabytes:g} GB, of {found.min_disk_size} GiB;"
                  " the contents were not read")
        return Proof(passed=not wrong, findings=(*wrong, looked))

    def restore(self, snapshot: Snapshot, scratch: Scratch, told: Told) -> NoReturn:
        """Raise RestoreByHand: a volume has to be made and attached, which costs money."""
        del scratch, told
        raise RestoreByHand(
            f"a snapshot of a volume cannot be restored into a directory ({snapshot.id})",
            hint="The steps back say how a person does it.", steps=self.steps_back(snapshot, None),
        )

    def steps_back(self, snapshot: Snapshot, cluster: Cluster | None) -> tuple[str, ...]:
        """Say how to put a new volume in the place of the old one: a script, with remarks."""
        known = {"mount": "MOUNT_POINT", "part": "", "droplet_id": "DROPLET_ID",
                 **(self._mount(cluster) if cluster else {}), **snapshot.facts}
        facts = {name: shlex.quote(value) for name, value in known.items()}
        mount, droplet = facts["mount"], facts["droplet_id"]
        new = f"{self.settings.volume[:40].rstrip('-')}-{snapshot.taken_at:%Y%m%d%H%M%S}"
        device = shlex.quote(f"{mounts.DEVICES}{new}{known['part']}")
        return (
            "# Stop PostgreSQL and all that uses it: docker compose down, or systemctl stop.",
            f"sudo umount {mount}",
            "# The old volume is kept, detached, until you are sure.",
            f"doctl compute volume-action detach {facts['volume_id']} {droplet} --wait",
            (f"volume=$(doctl compute volume create {new} --snapshot {shlex.quote(snapshot.id)}"
             f" --size {facts['min_disk_size']}GiB --format ID --no-header)"),
            f'doctl compute volume-action attach "$volume" {droplet} --wait',
            f"sudo mount -o defaults,nofail,discard,noatime {device} {mount}",
            f"# In /etc/fstab, put {device} in the place of the old device of {mount}.",
            f'# In the settings of pgmend, write volume = "{new}".',
            "# Start PostgreSQL: it recovers, as after a power failure.",
        )

    def delete(self, snapshot: Snapshot) -> None:
        """Remove it at DigitalOcean."""
        self.api.delete(snapshot.id)

    def _data(self, cluster: Cluster) -> Path | None:
        given = self.settings.data_directory
        return Path(given) if given else cluster.data_directory

    def _mount(self, cluster: Cluster) -> dict[str, str]:
        found = mounts.mounted(self._data(cluster))
        part = found[1].removeprefix(self.settings.volume) if found else ""
        return {"mount": found[0], "part": part} if found else {}

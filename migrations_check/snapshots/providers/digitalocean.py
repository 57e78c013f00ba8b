"""Snapshots of a DigitalOcean volume that holds a whole cluster.

Such a snapshot is what the disk would hold after a power failure, of one moment, so
PostgreSQL recovers from it as from a crash: with fsync and full_page_writes on, and with
everything on one volume.
Source: https://docs.digitalocean.com/products/volumes/how-to/create-snapshot/
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec

from dedupe.errors import ProgramMissing, ProviderFailed, ProviderSettingsError, RestoreByHand

from .. import mounts
from ..cluster import Cluster
from ..provider import Proof, Scratch, Snapshot, Step, Told
from ..settings import Access, secret

if TYPE_CHECKING:
    from ..volumes import Volume, Volumes, VolumeSnapshot

GIB = 1024**3
_LOCAL = r"(127\.0\.0\.1|\[::1\]|localhost)"
_NAME = re.compile(r"pgmend-([0-9a-f]{16})-([0-9a-f]{1,8})-([0-9a-f]{1,8})-([0-9a-f]{1,8})-\d{14}")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which volume, and where the token is; a token itself fits none of the patterns."""

    volume: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
    region: Annotated[str, msgspec.Meta(pattern=r"^[a-z]{3}[0-9]$")]
    token_env: Annotated[str, msgspec.Meta(pattern=r"^[A-Z_][A-Z0-9_]*$")] | None = None
    token_file: Annotated[str, msgspec.Meta(pattern=r"^[~/]")] | None = None
    #: where this machine sees the data directory, when the server sees it elsewhere
    data_directory: Annotated[str, msgspec.Meta(pattern=r"^/")] | None = None
    #: seconds until a snapshot has to be complete, and a call answered
    patience: Annotated[float, msgspec.Meta(gt=0, le=86400)] = 600
    #: the token goes there: over TLS, or to this machine
    endpoint: Annotated[
        str, msgspec.Meta(pattern=rf"^(https://[A-Za-z0-9.-]+|http://{_LOCAL})(:[0-9]{{1,5}})?$")
    ] = "https://api.digitalocean.com"


def open_provider(settings: Settings, access: Access) -> DigitalOcean:
    """Return the provider. Raises ProgramMissing without pydo, ProviderSettingsError."""
    try:
        from ..volumes import Volumes  # noqa: PLC0415 -- pydo is in an extra
    except ModuleNotFoundError as error:
        raise ProgramMissing(
            f"the Python package {error.name}, which asks DigitalOcean, is not installed",
            hint="pip install 'pgmend[digitalocean]'",
            program=error.name,
        ) from error
    read = partial(_token, access.name, settings.token_env, settings.token_file)
    read()
    api = Volumes(provider=access.name, endpoint=settings.endpoint, token=read,
                  patience=settings.patience)
    return DigitalOcean(name=access.name, settings=settings, api=api)


@dataclass(frozen=True, slots=True, kw_only=True)
class DigitalOcean:
    """One volume and its snapshots."""

    name: str
    settings: Settings
    api: Volumes
    #: links from the names of volumes to their devices
    devices: Path = mounts.NAMES

    def lacks(self, cluster: Cluster) -> tuple[str, ...]:
        """Say what a snapshot of the volume would miss, and what makes it useless."""
        volume = self._volume()
        data = self._data(cluster)
        return (
            *(f"{name} is off: files of a snapshot of a running server may not fit together"
              for name in ("fsync", "full_page_writes") if not getattr(cluster, name)),
            *(() if volume.droplet_ids else
              (f"the volume {volume.name} is attached to no droplet, so no server runs on it",)),
            *(("the data directory is not known: the role lacks pg_read_all_settings",)
              if data is None else mounts.uncovered(
                  data, cluster.system_identifier, volume.name, names=self.devices)),
        )

    def take(self, cluster: Cluster, told: Told) -> Snapshot:
        """Take a snapshot and wait, ``patience`` at most, until it is whole where it belongs."""
        volume = self._volume()
        high, _, low = cluster.lsn.lower().partition("/")
        told(Step(doing=f"asking for a snapshot of {volume.name}"))
        asked = self.api.take(volume.id, f"pgmend-{cluster.system_identifier:016x}-"
                              f"{cluster.timeline:x}-{high}-{low}-{cluster.now:%Y%m%d%H%M%S}")
        end, pause = time.monotonic() + self.settings.patience, 0.25
        while True:
            made = self.api.snapshot(asked.id)
            wrong = _wrong(made, volume) if made else ("it is not shown yet",)
            if made and not wrong:
                break
            pause = min(2 * pause, 15.0)
            if time.monotonic() + pause > end:
                raise ProviderFailed(
                    f"the snapshot {asked.id} ({asked.name}) was not complete after"
                    f" {self.settings.patience:g} s: {'; '.join(wrong)}",
                    hint="It may still be finished; pgmend guard status lists it. No receipt was"
                    f" written. To remove it: doctl compute snapshot delete {asked.id}",
                    provider=self.name, snapshot=asked.id,
                )
            told(Step(doing=f"waiting for the snapshot {asked.id}: {wrong[0]}"))
            time.sleep(pause)
        sizes = [database.size for database in cluster.databases]
        facts = {} if None in sizes else {"databases_bytes": str(sum(s or 0 for s in sizes))}
        return self._snapshot(made, volume, {**facts, **self._mount(cluster)})

    def list(self) -> tuple[Snapshot, ...]:
        """Return all snapshots of the volume; those that pgmend did not take tell no cluster."""
        volume = self._volume()
        return tuple(self._snapshot(s, volume, {}) for s in self.api.snapshots(volume.id))

    def inspect(self, snapshot: Snapshot, told: Told) -> Proof:
        """Look at what DigitalOcean tells of it; its contents cannot be read from here."""
        told(Step(doing=f"asking for the snapshot {snapshot.id}"))
        found = self.api.snapshot(snapshot.id)
        if found is None:
            return Proof(passed=False, findings=("it is gone: DigitalOcean does not know it",))
        facts = snapshot.facts
        wrong = [*_wrong(found, None)]
        for what, had, has in (
            ("its volume", facts.get("volume_id"), found.resource_id),
            ("its name", facts.get("name"), found.name),
            ("the size of its volume in GiB", facts.get("min_disk_size"), str(found.min_disk_size)),
            ("its moment", snapshot.taken_at, found.created_at),
        ):
            if had != has:
                wrong.append(f"{what} is {has}, and was {had}")
        if facts.get("region") not in found.regions:
            wrong.append(f"it is not in the region {facts.get('region')}")
        if int(facts.get("databases_bytes", "0")) > found.min_disk_size * GIB:
            wrong.append("the databases were larger than the volume it is of")
        return Proof(passed=not wrong, findings=(
            *wrong,
            (f"DigitalOcean holds {found.size_gigabytes:g} GB of {found.min_disk_size} GiB in"
            f" {', '.join(found.regions)}; the contents were not read"),
        ))

    def restore(self, snapshot: Snapshot, scratch: Scratch, told: Told) -> NoReturn:
        """Raise RestoreByHand: a volume has to be made and attached, which costs money."""
        del scratch, told
        raise RestoreByHand(
            f"a snapshot of a volume cannot be restored from here ({snapshot.id})",
            hint="Go back by the steps: to a new volume, on this droplet or on another one.",
            steps=self.steps_back(snapshot, None),
        )

    def steps_back(self, snapshot: Snapshot, cluster: Cluster | None) -> tuple[str, ...]:
        """Say how to put a new volume in the place of the old one, with doctl."""
        known = {**(self._mount(cluster) if cluster else {}), **snapshot.facts}
        facts = {key: shlex.quote(value) for key, value in known.items()}
        new = f"{self.settings.volume[:40].rstrip('-')}-{snapshot.taken_at:%Y%m%d%H%M%S}"
        device = f"/dev/disk/by-id/{mounts.PREFIX}{new}{facts.get('part', '')}"
        droplet = facts.get("droplet_id", "DROPLET_ID")
        mount = facts.get("mount", "MOUNT_POINT")
        return (
            ("Stop PostgreSQL and all that uses it, as you do: docker compose down, or"
            " systemctl stop postgresql."),
            f"sudo umount {mount}",
            ("The old volume stays as it is, detached, until you are sure:"
            f" doctl compute volume-action detach {facts['volume_id']} {droplet} --wait"),
            (f"volume=$(doctl compute volume create {new} --snapshot {shlex.quote(snapshot.id)}"
            f" --size {facts['min_disk_size']}GiB --format ID --no-header)"),
            f'doctl compute volume-action attach "$volume" {droplet} --wait',
            f"sudo mount -o defaults,nofail,discard,noatime {device} {mount}",
            (f"In /etc/fstab, put {device} in the place of the old device of {mount};"
            f' in the settings of pgmend, volume = "{new}".'),
            "Start PostgreSQL: it recovers, as after a power failure.",
        )

    def delete(self, snapshot: Snapshot) -> None:
        """Remove it at DigitalOcean."""
        self.api.delete(snapshot.id)

    def _volume(self) -> Volume:
        found = self.api.find(self.settings.volume, self.settings.region)
        if found is None:
            raise ProviderSettingsError(
                f"provider {self.name}: this account has no volume {self.settings.volume} in"
                f" {self.settings.region}",
                hint="doctl compute volume list shows names and regions; the token decides"
                " on the account.",
                provider=self.name,
            )
        return found

    def _data(self, cluster: Cluster) -> Path | None:
        given = self.settings.data_directory
        return Path(given) if given else cluster.data_directory

    def _mount(self, cluster: Cluster) -> dict[str, str]:
        """Return where the volume is mounted and the partition, for the steps back."""
        data = self._data(cluster)
        try:
            found = mounts.mounted(data, names=self.devices) if data else None
        except OSError:
            return {}
        if found is None:
            return {}
        at, disk = found
        return {"mount": str(at), "part": disk.removeprefix(self.settings.volume)}

    def _snapshot(
        self, found: VolumeSnapshot, volume: Volume, facts: Mapping[str, str]
    ) -> Snapshot:
        named = _NAME.fullmatch(found.name)
        identifier, timeline, high, low = named.groups() if named else (None,) * 4
        droplet = {"droplet_id": str(volume.droplet_ids[0])} if volume.droplet_ids else {}
        return Snapshot(
            id=found.id,
            taken_at=found.created_at,
            complete=not _wrong(found, volume),
            size=int(found.size_gigabytes * GIB) or None,
            place=f"DigitalOcean, {', '.join(found.regions)}",
            system_identifier=int(identifier, 16) if identifier else None,
            timeline=int(timeline, 16) if timeline else None,
            lsn=f"{high}/{low}".upper() if named else None,
            facts={
                "name": found.name, "volume": volume.name, "volume_id": found.resource_id,
                "region": volume.region.slug, "min_disk_size": str(found.min_disk_size),
                **droplet, **facts,
            },
        )


def _wrong(found: VolumeSnapshot, volume: Volume | None) -> tuple[str, ...]:
    """Say what a finished snapshot (of ``volume``) would not be like.

    The API does not tell a state. What is not finished has no region yet, or no size:
    a volume with a cluster on it is never empty.
    """
    wrong = [] if found.size_gigabytes > 0 else ["DigitalOcean tells no size for it yet"]
    if not found.regions:
        wrong.append("it is in no region yet")
    elif volume and volume.region.slug not in found.regions:
        wrong.append(f"it is in {', '.join(found.regions)}, not in {volume.region.slug}")
    if volume and found.resource_id != volume.id:
        wrong.append(f"it is of the volume {found.resource_id}, not of {volume.id}")
    if volume and found.min_disk_size < volume.size_gigabytes:
        wrong.append(f"it is of {found.min_disk_size} GiB; the volume has {volume.size_gigabytes}")
    return tuple(wrong)


def _token(provider: str, env: str | None, file: str | None) -> str:
    """Read the token. Raises ProviderSettingsError, without it."""
    value = secret(provider, "token", env=env, file=file)
    # What is no header's value would be quoted in an error of the HTTP library.
    if not re.fullmatch(r"[!-~]+", value):
        raise ProviderSettingsError(
            f"provider {provider}: what token_env or token_file names is no token",
            hint="A token is one word of ASCII characters.", provider=provider,
        )
    return value

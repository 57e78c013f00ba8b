"""DigitalOcean's volumes and their snapshots, asked over its API by its client, pydo.

Every call is tried a few times and ends in bounded time. The token is read for each call,
and kept, shown and handed on nowhere: the client's errors hold the request with its
Authorization header, so they are told in our words and not chained.
Source: https://docs.digitalocean.com/reference/api/reference/volumes/
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import count
from typing import Annotated, Any, TypeVar

import msgspec
from azure.core.exceptions import AzureError, DecodeError, HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.policies import RetryPolicy
from pydo import Client

from dedupe.errors import ProviderFailed, ProviderSettingsError

from .cluster import Cluster
from .provider import Snapshot, Step, Told

T = TypeVar("T")
GIB = 1024**3
#: calls beside the first one
RETRIES = 4
#: pages of one list; a volume has at most 25 snapshots
PAGES = 50
_NAME = re.compile(r"pgmend-([0-9a-f]{16})-([0-9a-f]{1,8})-([0-9a-f]{1,8})-([0-9a-f]{1,8})-\d{14}")
_HINTS = {
    401: "The token has expired or was revoked: make a new one, and put it where token_env or"
    " token_file says.",
    403: "The token lacks a right; docs/guards/digitalocean.md lists those it needs.",
    429: "A volume can be snapshotted once in ten minutes, and an account may make 5,000 calls"
    " an hour; try again later.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Where a volume is."""

    slug: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume, as the API tells it; its size in GiB."""

    id: str
    name: str
    region: Region
    size_gigabytes: int
    droplet_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSnapshot:
    """A snapshot of a volume, as the API tells it."""

    id: str
    name: str
    created_at: Annotated[datetime, msgspec.Meta(tz=True)]
    regions: tuple[str, ...]
    #: id of the volume
    resource_id: str
    #: GiB of the volume, and of one that is made from it
    min_disk_size: int
    #: what is paid for
    size_gigabytes: float

    @property
    def unfinished(self) -> str:
        """What tells that it is not finished; empty when nothing does.

        The API has no word for it. It answers without a size when it has only been asked
        for one, and a volume with a cluster on it is never empty.
        """
        return "" if self.regions and self.size_gigabytes else "it has no region or no size yet"

    def unlike(self, volume: Volume) -> str:
        """Say what a snapshot of that volume would not be like; empty when it is one."""
        if self.resource_id != volume.id:
            return f"it is of the volume {self.resource_id}, not of {volume.id}"
        if self.min_disk_size < volume.size_gigabytes:
            return f"it is of {self.min_disk_size} GiB, the volume has {volume.size_gigabytes}"
        there = ", ".join(self.regions)
        region = volume.region.slug
        return "" if region in self.regions else f"it is in {there}, the volume in {region}"

    def changed(self, since: Snapshot) -> list[str]:
        """Say in what it is not what it was when it was taken."""
        facts = since.facts
        then_and_now = {
            "volume": (facts["volume_id"], self.resource_id),
            "name": (facts["name"], self.name),
            "region": (facts["region"], ", ".join(self.regions)),
            "GiB": (facts["min_disk_size"], str(self.min_disk_size)),
            "moment": (f"{since.taken_at}", f"{self.created_at}"),
        }
        return [f"its {what} was {then}, and is {now}"
                for what, (then, now) in then_and_now.items() if then != now]

    def of(self, volume: Volume, facts: Mapping[str, str]) -> Snapshot:
        """Return it as the guard knows snapshots; its name tells the cluster, if it is ours."""
        told = _NAME.fullmatch(self.name)
        droplet = {"droplet_id": str(volume.droplet_ids[0])} if volume.droplet_ids else {}
        return Snapshot(
            id=self.id,
            taken_at=self.created_at,
            complete=not self.unfinished,
            size=int(self.size_gigabytes * GIB) or None,
            place=f"DigitalOcean, {', '.join(self.regions)}",
            system_identifier=int(told[1], 16) if told else None,
            timeline=int(told[2], 16) if told else None,
            lsn=f"{told[3]}/{told[4]}".upper() if told else None,
            facts={"name": self.name, "volume_id": self.resource_id,
                   "region": volume.region.slug, "min_disk_size": str(self.min_disk_size),
                   **droplet, **facts},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Volumes:
    """One volume of an account. Every method raises ProviderFailed, with ``status``."""

    provider: str
    #: of the volume
    name: str
    region: str
    endpoint: str
    #: reads the token; what it raises passes through
    token: Callable[[], str]
    #: most seconds that a call waits between its tries, and until a snapshot is finished
    patience: float

    def volume(self) -> Volume:
        """Return the volume. Raises ProviderSettingsError where there is none."""
        name, region = self.name, self.region
        found = self._ask(
            "look for the volume",
            lambda client, how: client.volumes.list(name=name, region=region, **how)["volumes"],
            list[Volume],
        )
        for volume in found or ():
            if (volume.name, volume.region.slug) == (name, region):
                return volume
        raise ProviderSettingsError(
            f"provider {self.provider}: there is no volume {name} in {region}",
            hint="doctl compute volume list; the token says in which account.",
            provider=self.provider,
        )

    def snapshots(self, volume: str) -> tuple[VolumeSnapshot, ...]:
        """Return all snapshots of a volume, oldest first."""
        found: list[VolumeSnapshot] = []
        for number in range(1, PAGES + 1):
            page = self._ask("list snapshots", partial(_page, volume, number), _Page)
            found += page.snapshots if page else ()
            if page is None or not page.more:
                return tuple(sorted(found, key=lambda s: s.created_at))
        raise self._failed("list snapshots", None, f"page {PAGES} was not the last one")

    def snapshot(self, snapshot: str) -> VolumeSnapshot | None:
        """Return one snapshot; None when there is none."""
        return self._ask(
            "look at the snapshot",
            lambda client, how: client.volume_snapshots.get_by_id(snapshot, **how)["snapshot"],
            VolumeSnapshot,
        )

    def take(self, volume: Volume, cluster: Cluster) -> VolumeSnapshot:
        """Ask for a snapshot that is named after the cluster; it need not be finished.

        A request that failed on its way may have been carried out: it is looked for by
        its name before it is made again.
        """
        name = (f"pgmend-{cluster.system_identifier:016x}-{cluster.timeline:x}"
                f"-{cluster.lsn.lower().replace('/', '-')}-{cluster.now:%Y%m%d%H%M%S}")
        tries = count()

        def ask(client: Any, how: dict[str, Any]) -> Any:
            if next(tries):
                for made in self.snapshots(volume.id):
                    if made.name == name:
                        return msgspec.to_builtins(made)
            body = {"name": name}
            return client.volume_snapshots.create(volume.id, body=body, **how)["snapshot"]

        if (made := self._ask("take a snapshot", ask, VolumeSnapshot)) is None:
            raise self._failed("take a snapshot", 404, "there is no such volume")
        return made

    def finished(self, asked: VolumeSnapshot, volume: Volume, told: Told) -> VolumeSnapshot:
        """Wait, ``patience`` at most, until a snapshot is finished, and of that volume."""
        end, pause = time.monotonic() + self.patience, 0.25
        while (made := self.snapshot(asked.id)) is None or made.unfinished:
            wrong, pause = (made.unfinished if made else "it is not shown yet"), min(2 * pause, 15)
            if time.monotonic() + pause > end:
                break
            told(Step(doing=f"waiting for the snapshot {asked.id}: {wrong}"))
            time.sleep(pause)
        else:
            wrong = made.unlike(volume)
        if made and not wrong:
            return made
        raise ProviderFailed(
            f"{asked.name} is no snapshot of {volume.name} to rely on: {wrong} ({asked.id})",
            hint="It is not finished, or of something else, and no receipt tells of it."
            f" pgmend guard remove {asked.id} --provider {self.provider} removes it.",
            provider=self.provider, snapshot=asked.id,
        )

    def delete(self, snapshot: str) -> None:
        """Remove a snapshot; nothing when it is gone."""
        self._ask(
            "remove the snapshot",
            lambda client, how: client.volume_snapshots.delete_by_id(snapshot, **how),
            None,
        )

    def _ask(
        self, doing: str, ask: Callable[[Any, dict[str, Any]], Any], kind: type[T] | None
    ) -> T | None:
        """Make a call and return its answer as a ``kind``; None for "not found"."""
        token = self.token()
        if not re.fullmatch(r"[!-~]+", token):
            # What is no header's value would be quoted in an error of the HTTP library.
            raise ProviderSettingsError(
                f"provider {self.provider}: what token_env or token_file names is no token",
                hint="A token is one word of ASCII characters.", provider=self.provider,
            )
        # Settings let only an address of this machine be without TLS.
        how = {"enforce_https": self.endpoint.startswith("https:"), "cls": _answer}
        with Client(
            token, endpoint=self.endpoint, permit_redirects=False, connection_timeout=10,
            # Its own way would repeat a POST that may have been carried out, and wait for ever.
            read_timeout=60, retry_policy=RetryPolicy.no_retries(),
        ) as client:
            left = self.patience
            for tried in range(RETRIES + 1):
                status, wait = None, 0.0
                try:
                    return msgspec.convert(ask(client, how), kind)
                except ResourceNotFoundError:
                    return None
                except (ValueError, LookupError, TypeError, AttributeError, DecodeError) as error:
                    known = isinstance(error, msgspec.ValidationError)
                    said = "its answer is not as documented" + (f": {error}" if known else "")
                except HttpResponseError as error:
                    status = error.status_code
                    said, wait = _told(error.response)
                except AzureError as error:
                    said = "no answer: " + str(error).rpartition(": ")[2].strip("')\"")
                wait = max(wait, 2**tried / 2)
                left -= wait
                # 409: a snapshot that an earlier try made and that was not listed yet
                again = status is None or status in (409, 429) or status >= 500
                if tried == RETRIES or not again or left < 0:
                    break
                time.sleep(wait)
        raise self._failed(doing, status, said.replace(token, "***")) from None

    def _failed(self, doing: str, status: int | None, said: str) -> ProviderFailed:
        hint = "Try again; https://status.digitalocean.com tells of outages."
        return ProviderFailed(
            f"DigitalOcean did not {doing}" + (f" ({status})" if status else "") + f": {said}",
            hint=_HINTS.get(status or 0, hint), provider=self.provider, status=status,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    snapshots: tuple[VolumeSnapshot, ...]
    more: bool


def _page(volume: str, number: int, client: Any, how: dict[str, Any]) -> dict[str, Any]:
    answer = client.volume_snapshots.list(volume, per_page=100, page=number, **how)
    # The address of the next page is not followed: it would be given the token.
    return {**answer, "more": "next" in ((answer.get("links") or {}).get("pages") or {})}


def _answer(response: Any, body: Any, _: Any) -> Any:
    """Pass an answer on; pydo would return those of 400 and 404 as if nothing had failed."""
    found = response.http_response
    if found.status_code == 404:
        raise ResourceNotFoundError(response=found)
    if found.status_code >= 400:
        raise HttpResponseError(response=found)
    return body


def _told(response: Any) -> tuple[str, float]:
    """Return the service's own words for an error, and the seconds it asks to wait."""
    asked = response.headers.get("Retry-After", "")
    try:
        said = str(msgspec.json.decode(response.body())["message"])[:300]
    except (LookupError, TypeError, ValueError):
        said = response.reason or "no reason was given"
    return said, float(asked) if asked.isdecimal() else 0.0

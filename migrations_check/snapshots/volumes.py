"""DigitalOcean's volumes and their snapshots, asked over its API by its client, pydo.

Every call is tried a few times and ends in bounded time. The token is read for each call,
and kept, shown and handed on nowhere: errors of the client hold the request with its
Authorization header, so they are told in our words and not chained.
Source: https://docs.digitalocean.com/reference/api/reference/volumes/
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated, Any, TypeVar

import msgspec
from azure.core.exceptions import AzureError, DecodeError, HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.policies import RetryPolicy
from pydo import Client

from dedupe.errors import ProviderFailed

T = TypeVar("T")

#: calls beside the first one, for each request
RETRIES = 4
#: requests for one list; a volume has at most 25 snapshots
PAGES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Where a volume is."""

    slug: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume, as the API tells it."""

    id: str
    name: str
    region: Region
    #: GiB
    size_gigabytes: int
    droplet_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSnapshot:
    """A snapshot of a volume, as the API tells it; the API has no word for its state."""

    id: str
    name: str
    created_at: Annotated[datetime, msgspec.Meta(tz=True)]
    regions: tuple[str, ...]
    #: id of the volume
    resource_id: str
    #: GiB of the volume, and of one that is made from it
    min_disk_size: int
    #: what is paid for; 0 until it is known
    size_gigabytes: float


class _Patient(RetryPolicy[Any, Any]):
    """Waits as long as the service asks, up to a bound; repeats only what may be repeated."""

    def __init__(self, most: float) -> None:
        super().__init__(retry_total=RETRIES, retry_status=RETRIES, retry_backoff_factor=0.5)
        self._left = most

    def get_retry_after(self, response: Any) -> float | None:
        """Return the seconds that the service asks for; None for none, or for nonsense."""
        try:
            return super().get_retry_after(response)
        except ValueError:
            return None

    def is_retry(self, settings: dict[str, Any], response: Any) -> bool:
        """Tell whether to ask again; a POST that failed otherwise may have been carried out."""
        status = response.http_response.status_code
        again = status == 429 or (status >= 500 and response.http_request.method != "POST")
        self._left -= self.get_retry_after(response) or 0
        return again and self._left >= 0 and settings["total"] > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Volumes:
    """The volumes of one account. Every method raises ProviderFailed, with ``status``."""

    provider: str
    endpoint: str
    #: reads the token; what it raises passes through
    token: Callable[[], str]
    #: most seconds to wait because the service asks for it
    patience: float

    def find(self, name: str, region: str) -> Volume | None:
        """Return the volume of that name in that region."""
        found = self._ask(
            "look for the volume",
            lambda client, how: client.volumes.list(name=name, region=region, **how)["volumes"],
            list[Volume],
        )
        return next((v for v in found or () if (v.name, v.region.slug) == (name, region)), None)

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

    def take(self, volume: str, name: str) -> VolumeSnapshot:
        """Ask for a snapshot under a name that nothing has yet; it need not be complete.

        A request that failed on its way may have been carried out: it is looked for by
        its name before it is made again.
        """
        for tried in range(RETRIES + 1):
            time.sleep(tried and min(2**tried / 4, self.patience))
            try:
                made = self._ask(
                    "take a snapshot",
                    lambda client, how: client.volume_snapshots.create(
                        volume, body={"name": name}, **how
                    )["snapshot"],
                    VolumeSnapshot,
                )
                if made is None:
                    raise self._failed("take a snapshot", 404, "there is no such volume")
                return made
            except ProviderFailed as error:
                failed = error
            if isinstance(failed.status, int) and failed.status < 500:
                break
            for made in self.snapshots(volume):
                if made.name == name:
                    return made
        raise failed

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
        with Client(
            token,
            endpoint=self.endpoint,
            retry_policy=_Patient(self.patience),
            permit_redirects=False,
            connection_timeout=10,
            read_timeout=60,
        ) as client:
            # Settings let only an address of this machine be without TLS.
            how = {
                "enforce_https": self.endpoint.startswith("https:"),
                "cls": _answer,
            }
            try:
                return msgspec.convert(ask(client, how), kind)
            except ResourceNotFoundError:
                return None
            except DecodeError:
                status, said = None, "its answer is not as documented: not JSON"
            except HttpResponseError as error:
                status, said = error.status_code, _said(error)
            except AzureError as error:
                status, said = None, "no answer: " + str(error).rpartition(": ")[2].strip("')\"")
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                what = error if isinstance(error, msgspec.ValidationError) else "not JSON"
                status, said = None, f"its answer is not as documented: {what}"
        raise self._failed(doing, status, said.replace(token, "***")) from None

    def _failed(self, doing: str, status: int | None, said: str) -> ProviderFailed:
        hints = {
            401: "The token has expired or was revoked: make a new one, and put it where"
                 " token_env or token_file says.",
            403: "The token lacks a right; docs/guards/digitalocean.md lists those it needs.",
            429: "A volume can be snapshotted once in ten minutes, and an account may make"
                 " 5,000 calls an hour; try again later.",
        }
        return ProviderFailed(
            f"DigitalOcean did not {doing}" + (f" ({status})" if status else "") + f": {said}",
            hint=hints.get(
                status or 0, "Try again; https://status.digitalocean.com tells of outages."
            ),
            provider=self.provider,
            status=status,
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


def _said(error: HttpResponseError) -> str:
    """Return the service's own words for an error, or the status's."""
    try:
        said = msgspec.json.decode(error.response.body())["message"]  # type: ignore[union-attr]
        return str(said)[:300]
    except (AttributeError, LookupError, TypeError, ValueError, AzureError):
        return error.reason or "no reason was given"

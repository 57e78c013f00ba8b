"""Workers of an application that a Redis knows: whether any of them still runs.

Sidekiq keeps a set of the identities of its processes. Each process has a hash by the name of
its identity, which it writes every few seconds and which expires a minute after the last time;
a member of the set whose hash is gone is a process that died. With a namespace, all of these
names begin with ``NAMESPACE:``.

Source: https://github.com/sidekiq/sidekiq, ``launcher.rb`` and ``api.rb``
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConnectionSettingsError, ServerUnavailable, UsageError
from .recipe import Before

_SECONDS = 10
_HOW_WRITTEN = (
    "Write redis://host:port/0, rediss://… over TLS, or unix:///path/to/socket?db=0; a password"
    " stands before the host as in redis://:PASSWORD@host, and PGMEND_REDIS_URL takes the same"
    " without showing it to other users of this machine."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the application keeps its workers."""

    #: redis://, rediss:// or unix://, password included
    url: str
    #: what the names of all keys begin with, without the colon
    namespace: str | None = None

    def __repr__(self) -> str:
        return f"Place(namespace={self.namespace!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """What a Redis knows of an application's workers."""

    #: where it is, without any secret
    where: str
    #: ``host:pid`` of each worker that runs
    running: tuple[str, ...]
    #: whether anything shows that the application uses this Redis
    known: bool


def place_of(url: str | None, namespace: str | None) -> Place | None:
    """Return where the workers are kept, if that was said. Raises ConnectionSettingsError."""
    if url is not None:
        return Place(url=url, namespace=namespace)
    if namespace is not None:
        raise ConnectionSettingsError(
            f"the namespace {namespace} of a Redis was given, and no Redis",
            hint="Name it: --redis URL.",
        )
    return None


def find_workers(place: Place, before: Before) -> Workers:
    """Ask a Redis which workers run; reads one set and a field of a hash for each member.

    Raises UsageError (redis-py is not installed), ConnectionSettingsError (the URL cannot be
    read, the password is wrong, Redis refuses to answer), ServerUnavailable (nobody answers,
    or what answers is no Redis). No message shows the password.
    """
    redis = _library()
    client = _client(redis, place.url)
    prefix = f"{place.namespace}:" if place.namespace else ""
    where = _where(client)
    if prefix:
        where += f", namespace {place.namespace}"
    with client, _translated(redis, where):
        members = sorted(client.smembers(f"{prefix}{before.redis_set}"))
        running = []
        for member in members:
            # Sidekiq writes the whole hash at once: without this field it is gone.
            info = client.hget(f"{prefix}{member}", "info")
            if info is not None:
                running.append(_told(member, info))
        known = bool(members) or before.redis_known is None
        if not known:
            known = bool(client.exists(f"{prefix}{before.redis_known}"))
    return Workers(where=where, running=tuple(running), known=known)


def redis_version(place: Place) -> str:
    """Ask a Redis for its version; raises what ``find_workers`` raises."""
    redis = _library()
    client = _client(redis, place.url)
    with client, _translated(redis, _where(client)):
        return str(client.info("server")["redis_version"])


def _library() -> ModuleType:
    """Import redis-py only now: it is an extra, and slow to import."""
    try:
        import redis  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            "looking into a Redis needs the package redis, which is not installed",
            hint="Install it: pip install 'pgmend[redis]'; or leave --redis out, and what it"
            " would be asked is for you to look at.",
        ) from error
    return redis


def _client(redis: ModuleType, url: str) -> Any:
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    try:
        _check(url)
        client = redis.Redis.from_url(
            url,
            socket_connect_timeout=_SECONDS,
            socket_timeout=_SECONDS,
            retry=Retry(NoBackoff(), 0),
            # Redis 4 and 5 do not know the other one.
            protocol=2,
            decode_responses=True,
            encoding_errors="surrogateescape",
        )
        client.connection_pool.make_connection()
    except (ValueError, TypeError, redis.RedisError):
        # The library's words may quote the URL, and the URL may hold a password.
        raise ConnectionSettingsError(
            "the URL of the Redis cannot be read", hint=_HOW_WRITTEN
        ) from None
    return client


def _check(url: str) -> None:
    """Raise ValueError for a database that is no number: the library would take 0 for it."""
    place = urlsplit(url)
    if place.scheme != "unix" and not re.fullmatch(r"/?|/[0-9]+", place.path):
        raise ValueError


def _where(client: Any) -> str:
    settings: dict[str, Any] = client.connection_pool.connection_kwargs
    database = settings.get("db") or 0
    if settings.get("path"):
        return f"{settings['path']}, database {database}"
    return f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}/{database}"


@contextmanager
def _translated(redis: ModuleType, where: str) -> Iterator[None]:
    """Turn the library's errors into ours. Its words hold no password; what answers, may."""
    try:
        yield
    except redis.AuthenticationError as error:
        raise ConnectionSettingsError(
            f"Redis at {where} does not let us in: {error}", hint=_HOW_WRITTEN
        ) from error
    except redis.exceptions.InvalidResponse:
        raise ServerUnavailable(
            f"what answers at {where} is no Redis",
            hint="Name Redis' own port; over TLS the URL begins with rediss://.",
        ) from None
    except redis.ResponseError as error:
        raise ConnectionSettingsError(
            f"Redis at {where} refuses to answer: {error}",
            hint="Name the server, the database and the namespace that the application uses, and"
            " a user that may read them. (A Sentinel's port answers nothing: name the master.)",
        ) from error
    except (redis.RedisError, OSError) as error:
        raise ServerUnavailable(
            f"Redis at {where} does not answer: {error}",
            hint="Start it, or mend the URL: host, port, and rediss:// over TLS. Without --redis"
            " pgmend does not look into it.",
        ) from error


def _told(member: str, info: str) -> str:
    """Name a process by its host and pid."""
    try:
        facts = json.loads(info)
        return f"{facts['hostname']}:{facts['pid']}"
    except (ValueError, KeyError, TypeError):
        host, _, rest = member.partition(":")
        return f"{host}:{rest.partition(':')[0]}" if rest else host

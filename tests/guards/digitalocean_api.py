"""A server on this machine that speaks DigitalOcean's API, as far as snapshots of volumes go.

Volumes and their snapshots, paging, errors and headers are as documented at
https://docs.digitalocean.com/reference/api/. What goes wrong, and how slowly a snapshot is
finished, is for the test to say.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

TOKEN = "dop_v1_8d2c1f60a7b94e53d2c1f60a7b94e53d2c1f60a7b94e53d2c1f60a7b94e53ab"
WORDS = {
    401: ("unauthorized", "Unable to authenticate you"),
    403: ("forbidden", "You are not authorized to perform this operation"),
    404: ("not_found", "The resource you requested could not be found."),
    409: ("conflict", "a snapshot with that name already exists"),
    429: ("too_many_requests", "API rate limit exceeded."),
    500: ("server_error", "Unexpected server-side error"),
    502: ("bad_gateway", "the server was unreachable"),
    503: ("service_unavailable", "Service Unavailable"),
}


@dataclass(kw_only=True)
class Fault:
    """An answer instead of the right one, to the next ``times`` requests that fit."""

    method: str
    path: str
    status: int
    times: int
    headers: dict[str, str] = field(default_factory=dict)
    #: instead of the documented words for the status
    body: bytes | None = None
    #: whether what was asked for is done nevertheless
    carried_out: bool = False


@dataclass(kw_only=True)
class Account:
    """What the account holds, and what was asked of it."""

    volumes: dict[str, dict[str, Any]] = field(default_factory=dict)
    snapshots: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    #: every request: method, path with query, status
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    #: values that requests brought as Authorization
    authorized: set[str] = field(default_factory=set)
    #: how often a new snapshot is looked at before it is shown, and before it has a size
    shown_after: int = 0
    sized_after: int = 0
    #: what new snapshots are like, where they are not as they should be
    strange: dict[str, Any] = field(default_factory=dict)
    #: gets the id of the volume and of the snapshot, or of the snapshot and the new volume
    on_snapshot: Callable[[str, str], None] = lambda _volume, _snapshot: None
    on_volume: Callable[[str, str], None] = lambda _snapshot, _volume: None
    on_action: Callable[[str, str], None] = lambda _volume, _type: None
    url: str = ""

    def volume(self, name: str, *, region: str = "fra1", size: int = 1) -> str:
        """Add a volume that is attached to droplet 386734086; return its id."""
        volume = str(uuid.uuid4())
        self.volumes[volume] = {
            "id": volume, "name": name, "size_gigabytes": size, "droplet_ids": [386734086],
            "region": {"name": region.upper(), "slug": region, "sizes": [], "features": [],
                       "available": True},
            "description": "", "created_at": "2022-03-02T17:00:49Z", "filesystem_type": "ext4",
            "filesystem_label": "", "tags": [],
        }  # fmt: skip
        return volume

    def snapshot(self, volume: str, name: str, *, age: timedelta = timedelta()) -> str:
        """Add a finished snapshot of a volume; return its id."""
        snapshot, of = str(uuid.uuid4()), self.volumes[volume]
        self.snapshots[snapshot] = {
            "id": snapshot, "name": name, "regions": [of["region"]["slug"]],
            "created_at": f"{datetime.now(UTC) - age:%Y-%m-%dT%H:%M:%SZ}",
            "resource_id": volume, "resource_type": "volume",
            "min_disk_size": of["size_gigabytes"], "size_gigabytes": 0.31, "tags": [],
        }  # fmt: skip
        return snapshot

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        """Do what a request asks for; return status and body."""
        found = re.fullmatch(r"/v2/volumes(?:/([\w-]+))?(?:/([\w-]+))?", path)
        if found is None:
            return 404, None
        first, second = found.groups()
        if first is None and method == "GET":
            fitting = [
                v for v in self.volumes.values()
                if query.get("name", v["name"]) == v["name"]
                and query.get("region", v["region"]["slug"]) == v["region"]["slug"]
            ]  # fmt: skip
            return 200, self._page("volumes", path, fitting, query)
        if first is None and method == "POST":
            image = self.snapshots[body["snapshot_id"]]
            made = self.volume(body["name"], size=image["min_disk_size"])
            self.volumes[made]["droplet_ids"] = []
            self.on_volume(image["id"], made)
            return 201, {"volume": self.volumes[made]}
        if first == "snapshots" and second in self.snapshots:
            if method == "DELETE":
                del self.snapshots[second]
                return 204, None
            image = self.snapshots[second]
            looks = image["looks"] = image.get("looks", 0) + 1
            if looks <= image.get("shown_after", 0):
                return 404, None
            if looks > image.get("sized_after", 0):
                image["size_gigabytes"] = image["size_gigabytes"] or 0.31
            return 200, {"snapshot": self._plain(image)}
        if first in self.volumes and second == "snapshots":
            mine = [s for s in self.snapshots.values() if s["resource_id"] == first]
            if method == "GET":
                return 200, self._page("snapshots", path, [self._plain(s) for s in mine], query)
            if body["name"] in {s["name"] for s in mine}:
                return 409, None
            image = self.snapshots[self.snapshot(first, body["name"])]
            image |= {"size_gigabytes": 0, "shown_after": self.shown_after,
                      "sized_after": self.sized_after, **self.strange}  # fmt: skip
            self.on_snapshot(first, image["id"])
            return 201, {"snapshot": self._plain(image)}
        if first in self.volumes and second == "actions" and method == "POST":
            here = [body["droplet_id"]] if body["type"] == "attach" else []
            self.volumes[first]["droplet_ids"] = here
            self.on_action(first, body["type"])
            return 202, {"action": {"id": 72531856, "status": "completed", "type": body["type"]}}
        return 404, None

    @staticmethod
    def _plain(image: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in image.items() if k not in ("looks", "shown_after", "sized_after")}

    def _page(
        self, key: str, path: str, items: list[Any], query: dict[str, str]
    ) -> dict[str, Any]:
        size, number = int(query.get("per_page", 20)), int(query.get("page", 1))
        pages = {}
        if number * size < len(items):
            there = f"{self.url}{path}?per_page={size}&page="
            pages = {"pages": {"next": f"{there}{number + 1}",
                               "last": f"{there}{-(-len(items) // size)}"}}  # fmt: skip
        return {key: items[(number - 1) * size : number * size], "links": pages,
                "meta": {"total": len(items)}}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        account, where = self.server.account, urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        asked = json.loads(self.rfile.read(length)) if length else None
        query = {name: values[0] for name, values in parse_qs(where.query).items()}
        fault = next(
            (f for f in account.faults
             if f.times and f.method == self.command and re.search(f.path, self.path)),
            None,
        )  # fmt: skip
        account.authorized.add(self.headers.get("Authorization", ""))
        status, body, headers = 401, None, {}
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            if fault is None or fault.carried_out:
                status, body = account.answer(self.command, where.path, query, asked)
            if fault:
                fault.times -= 1
                status, body, headers = fault.status, fault.body, fault.headers
        account.asked.append((self.command, self.path, status))
        if body is None and status >= 400:
            name, words = WORDS[status]
            body = {"id": name, "message": words, "request_id": str(uuid.uuid4())}
        sent = body if isinstance(body, bytes) else json.dumps(body).encode() if body else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("ratelimit-limit", "5000")
        self.send_header("ratelimit-remaining", "0" if status == 429 else "4816")
        self.send_header("ratelimit-reset", str(int(datetime.now(UTC).timestamp()) + 3600))
        for header, value in headers.items():
            self.send_header(header, value)
        if status != 204:
            self.send_header("Content-Length", str(len(sent)))
        self.end_headers()
        self.wfile.write(sent)

    do_POST = do_DELETE = do_GET  # noqa: N815 -- as the library names them

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    account: Account


@contextmanager
def serving() -> Iterator[Account]:
    """Give an empty account and a server for it; its address is the account's ``url``."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.account = Account(url=f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.account
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

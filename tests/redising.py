"""A real Redis for tests, and workers in it as Sidekiq writes them."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

PASSWORD = "s3cret-of-redis"


@dataclass(frozen=True)
class Sidekiq:
    """A Redis server, and what Sidekiq would do there."""

    socket: Path
    namespace: str | None = None
    database: int = 0

    @property
    def url(self) -> str:
        return self.url_with(PASSWORD)

    def url_with(self, password: str | None) -> str:
        credentials = f":{password}@" if password else ""
        return f"unix://{credentials}{self.socket}?db={self.database}"

    def client(self) -> Any:
        return redis.Redis.from_url(self.url, decode_responses=True)

    def _name(self, name: str) -> str:
        return f"{self.namespace}:{name}" if self.namespace else name

    def beat(self, host: str, pid: int, *, expires_ms: int = 60_000) -> None:
        """Write the heartbeat of a process, as ``Sidekiq::Launcher`` does."""
        identity = f"{host}:{pid}:{secrets.token_hex(6)}"
        info = json.dumps({"hostname": host, "pid": pid, "tag": "app", "identity": identity})
        with self.client() as client, client.pipeline() as pipe:
            pipe.sadd(self._name("processes"), identity)
            pipe.hset(self._name(identity), mapping={"info": info, "busy": 0, "quiet": "false"})
            pipe.pexpire(self._name(identity), expires_ms)
            pipe.incrby(self._name("stat:processed"), 3)
            pipe.execute()

    def stop(self) -> None:
        """Take all processes out of the set, as a clean stop does."""
        with self.client() as client:
            client.delete(self._name("processes"))


@contextmanager
def redis_server(place: Path) -> Iterator[Path]:
    """Run a Redis that listens on a socket in a directory; skip the test where there is none."""
    binary = shutil.which("redis-server")
    if binary is None:
        if os.environ.get("PGMEND_REQUIRE_REDIS") == "1":
            pytest.fail("there is no redis-server and PGMEND_REQUIRE_REDIS=1 is set")
        pytest.skip("there is no redis-server on this machine")
    socket = place / "redis.sock"
    process = subprocess.Popen(
        [binary, "--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no",
         "--requirepass", PASSWORD, "--dir", str(place)],
        stdout=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 20
        while not socket.exists():
            assert process.poll() is None, "redis-server ended"
            assert time.monotonic() < until, "redis-server did not come up"
            time.sleep(0.02)
        yield socket
    finally:
        process.terminate()
        process.wait(20)

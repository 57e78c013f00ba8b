"""Counts the bytes between a client and the server, by standing between them.

It costs time at every message, so nothing is timed through it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from .sockets import PORT, socket_directory

_CHUNK = 1 << 18


class Relay:
    """Takes connections at a socket of its own and hands their bytes on, both ways."""

    def __init__(self, dsn: str, place: Path, host: str, port: int) -> None:
        #: the connection string that leads through it
        self.dsn = make_conninfo(dsn, host=str(place), hostaddr="", port=PORT)
        self._server = (host, port)
        self._turn = threading.Lock()
        self._bytes = 0
        self._guests: list[threading.Thread] = []
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(place / f".s.PGSQL.{PORT}"))
        self._door.listen()
        self._porter = threading.Thread(target=self._admit, name="relay", daemon=True)
        self._porter.start()

    def close(self) -> None:
        """Take no more connections and wait for the ends of those there are."""
        self._door.shutdown(socket.SHUT_RDWR)
        self._porter.join()
        self._door.close()
        for guest in self._guests:
            guest.join()

    @property
    def count(self) -> int:
        """Bytes that have passed since the last ``reset``."""
        with self._turn:
            return self._bytes

    def reset(self) -> None:
        """Begin to count anew, once all connections have ended."""
        for guest in self._guests:
            guest.join()
        with self._turn:
            self._guests.clear()
            self._bytes = 0

    def _admit(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            guest = threading.Thread(
                target=self._serve, args=(client,), name="relay", daemon=True
            )
            self._guests.append(guest)
            guest.start()

    def _serve(self, client: socket.socket) -> None:
        # A server that cannot be reached is for the client to report, as it sees it.
        with client, suppress(OSError), self._reach() as server:
            back = threading.Thread(
                target=self._pump, args=(server, client), name="relay", daemon=True
            )
            back.start()
            self._pump(client, server)
            back.join()

    def _reach(self) -> socket.socket:
        host, port = self._server
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                target.sendall(data)
                with self._turn:
                    self._bytes += len(data)
        # Whichever side ends, the other one is told; what still comes is of no use to anybody.
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def relay(dsn: str) -> Iterator[Relay]:
    """Stand between clients and the server of ``dsn``. Raises psycopg.Error."""
    with psycopg.connect(dsn) as connection:
        host, port = connection.info.host, connection.info.port
    with socket_directory("pgmend-relay-") as place:
        between = Relay(dsn, place, host, port)
        try:
            yield between
        finally:
            between.close()

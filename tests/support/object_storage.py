"""An S3 service on loopback for tests, and a wire to it that can be cut."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

#: environment of a client of :func:`object_storage`; moto takes any credentials
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "AKIATESTKEY",
    "AWS_SECRET_ACCESS_KEY": "test-secret-value",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def object_storage() -> Iterator[str]:
    """Run moto's server; gives its address, ``http://127.0.0.1:<port>``."""
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **CREDENTIALS},
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                _request(address, "GET", "/moto-api/data.json")
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError("moto's server did not start") from None
                time.sleep(0.1)
        yield address
    finally:
        process.kill()
        process.wait()


def make_bucket(address: str, name: str) -> None:
    """Make a bucket."""
    _request(address, "PUT", f"/{name}")


def _request(address: str, method: str, path: str) -> None:
    connection = http.client.HTTPConnection(address.rpartition("/")[2], timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path)
        connection.getresponse().read()


class Wire:
    """A TCP proxy to a service, which can be cut and mended.

    Attributes:
        mode: ``open``; ``cut``: connections are closed at once; ``dead``: nothing moves.
        received: bytes that came back from the service.
        address: ``http://127.0.0.1:<port>``.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition("://")[2].partition(":")
        self._target = (host, int(port))
        self.mode = "open"
        self.received = 0
        self.limit: int | None = None
        self._live: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def set(self, mode: str) -> None:
        """Change the mode; open connections are closed when it is ``cut``."""
        self.mode = mode
        if mode == "cut":
            with self._lock:
                for end in self._live:
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

    def cut_after(self, received: int) -> None:
        """Cut the wire once so many more bytes have come back."""
        self.limit = self.received + received

    def close(self) -> None:
        self.set("cut")
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self.mode == "cut":
                client.close()
                continue
            try:
                service = socket.create_connection(self._target, timeout=10)
            except OSError:
                client.close()
                continue
            with self._lock:
                self._live |= {client, service}
            for source, sink, counts in ((client, service, False), (service, client, True)):
                threading.Thread(
                    target=self._pump, args=(source, sink, counts), daemon=True
                ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, counts: bool) -> None:
        with contextlib.suppress(OSError):
            source.settimeout(None)  # it may have been closed by the other direction
            while content := source.recv(1 << 16):
                while self.mode == "dead":
                    time.sleep(0.05)
                if self.mode == "cut":
                    break
                if counts:
                    self.received += len(content)
                sink.sendall(content)
                if self.limit is not None and self.received >= self.limit:
                    self.limit = None
                    self.set("cut")
        with self._lock:
            self._live -= {source, sink}
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.close()


def put_folder(folder: Any, uri: str) -> None:
    """Put a folder's files below a URI."""
    from serplatform.storage.location import Location, parse
    from serplatform.storage.outgoing import upload

    place = parse(uri)
    if not isinstance(place, Location):
        raise ValueError(f"{uri}: not on object storage")
    upload(folder, place)

"""Answers the probes of `fastapi-events worker --probe`, by HTTP."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

from fastapi_events.errors import ConfigurationError
from fastapi_events.worker_reports import Verdict

Page = Callable[[], tuple[str, bytes]]
"""Gives a page's content type and content."""


class ProbeServer:
    """Serves `/livez` and `/readyz`, and what other pages there are, for the length of a `with` block.

    Parameters:
        address: `HOST:PORT`, `[HOST]:PORT`, or `:PORT` for all addresses.
        verdict: Says how the workers are.
        pages: Further pages, by their path.

    Raises:
        ConfigurationError: When that is no address, or cannot be listened at.
    """

    def __init__(self, address: str, verdict: Callable[[], Verdict], pages: dict[str, Page]) -> None:
        host, port = _parse(address)
        try:
            listening = _listen(host, port)
        except OSError as error:
            raise ConfigurationError(f"--probe {address}: {error.strerror or error}.") from error
        self.port: int = listening.getsockname()[1]
        """Where it listens."""
        self._server = _Server(listening, verdict, pages)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.2},
            name="fastapi-events-probe", daemon=True,
        )  # fmt: skip

    def __enter__(self) -> ProbeServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(
        self, listening: socket.socket, verdict: Callable[[], Verdict], pages: dict[str, Page]
    ) -> None:
        super().__init__(listening.getsockname()[:2], _Request, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.verdict = verdict
        self.pages = pages


class _Request(BaseHTTPRequestHandler):
    server: _Server
    timeout = 5.0  # a client that sends nothing must not hold a thread
    server_version, sys_version = "fastapi-events", ""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path in ("/livez", "/readyz"):
            verdict = self.server.verdict()
            good = verdict["live"] if path == "/livez" else verdict["ready"]
            self._respond(200 if good else 503, "application/json", json.dumps(verdict).encode())
        elif path in self.server.pages:
            self._respond(200, *self.server.pages[path]())
        else:
            there = ", ".join(["/livez", "/readyz", *self.server.pages])
            self._respond(404, "text/plain; charset=utf-8", f"There are {there}.\n".encode())

    do_HEAD = do_GET  # noqa: N815 - the name that http.server asks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Log nothing: probes come every few seconds."""

    def _respond(self, status: int, content_type: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _parse(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65_535:
        raise ConfigurationError(
            f"--probe {address}: expected HOST:PORT, or :PORT for all addresses; such as :8080."
        )
    return host.removeprefix("[").removesuffix("]"), int(port)


def _listen(host: str, port: int) -> socket.socket:
    if not host:
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)

"""A TCP proxy that harms what passes through it: the network between a worker and its broker."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType


class Proxy:
    """Listens on a port of its own, and forwards to a server what the test lets through.

        with Proxy(port) as proxy:
            proxy.swallow(every=3, bigger_than=500)

    Requests always arrive. It is the answers that are lost, held back or late; both ways are cut.

    Parameters:
        port: Where the server listens, on 127.0.0.1.
    """

    def __init__(self, port: int) -> None:
        self.swallowed = 0
        """How many answers never arrived."""
        self._server = ("127.0.0.1", port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._threads: list[threading.Thread] = []
        self._flowing = threading.Event()
        self._flowing.set()
        self._every = 0
        self._bigger_than = 0
        self._left = 0
        self._seen = 0
        self._delay = 0.0

    def swallow(self, *, every: int = 1, bigger_than: int = 0, at_most: int = 1_000_000) -> None:
        """Lose every n-th answer over a size, from now on; the connection stays open.

        Parameters:
            bigger_than: Bytes; most answers of a broker are tiny, and those that carry messages are not.
            at_most: How many to lose.
        """
        with self._lock:
            self._every, self._bigger_than, self._left, self._seen = every, bigger_than, at_most, 0

    def hang(self) -> None:
        """Hold all answers back, until `heal`."""
        self._flowing.clear()

    def delay(self, seconds: float) -> None:
        """Let each answer come late."""
        self._delay = seconds

    def cut(self) -> None:
        """Close every connection that is open now; new ones are welcome."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for each in pairs:
            for end in each:
                _close(end)

    def lead_to(self, port: int) -> None:
        """Connect those who come from now on to another server."""
        self._server = ("127.0.0.1", port)

    def end(self) -> None:
        """Refuse connections from now on, as a machine does whose server has ended."""
        _close(self._listening)
        self.cut()

    def heal(self) -> None:
        """Harm nothing any more."""
        with self._lock:
            self._every = 0
        self._delay = 0.0
        self._flowing.set()

    def __enter__(self) -> Proxy:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _close(self._listening)
        self.heal()
        self.cut()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:  # closed: the test is over
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:  # the server is away, and the client is to notice
                _close(client)
                continue
            with self._lock:
                self._pairs.append((client, server))
            self._start(self._requests, client, server)
            self._start(self._answers, server, client)

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65_536):
                server.sendall(data)
        _close(server)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1_048_576):
                self._flowing.wait()
                if self._delay:
                    time.sleep(self._delay)
                if not self._is_lost(data):
                    client.sendall(data)
        _close(client)

    def _is_lost(self, data: bytes) -> bool:
        with self._lock:
            if not self._every or not self._left or len(data) <= self._bigger_than:
                return False
            self._seen += 1
            if self._seen % self._every:
                return False
            self._left -= 1
            self.swallowed += 1
            return True


def _close(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)  # wakes a thread that reads from it, which close() does not
    end.close()

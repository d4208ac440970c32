"""Clients: threads that place orders, and remember which of them were accepted."""

from __future__ import annotations

import http.client
import itertools
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

CLIENT_PATIENCE_SECONDS = 20.0
"""What a client waits for an answer: a web process whose loop waited for its broker would exceed it."""


class Traffic:
    """Places orders with one web process.

    Parameters:
        port: Where it listens, on 127.0.0.1.
        clients: How many do so at once.
    """

    def __init__(self, port: int, *, clients: int = 8) -> None:
        self._port = port
        self._clients = clients

    def place(
        self, numbers: Iterable[int], *, path: str = "orders", status: int = 202, **query: object
    ) -> tuple[list[int], int]:
        """Place an order for each number.

        Parameters:
            path: Where.
            status: Of the response that is expected.

        Returns:
            The numbers whose response was read to its end, and how many requests had no such end.
        """
        left: Iterator[int] = iter(numbers)
        lock = threading.Lock()

        def take() -> int | None:
            with lock:
                return next(left, None)

        def work(_: int) -> tuple[list[int], int]:
            accepted: list[int] = []
            failures = 0
            connection = self._connect()
            while (number := take()) is not None:
                try:
                    connection.request("POST", f"/{path}/{number}?{urlencode(query)}")
                    response = connection.getresponse()
                    response.read()
                    assert response.status == status, f"order {number}: status {response.status}"
                    accepted.append(number)
                except (OSError, http.client.HTTPException):
                    failures += 1
                    connection.close()
                    connection = self._connect()
            connection.close()
            return accepted, failures

        with ThreadPoolExecutor(self._clients) as clients:
            parts = list(clients.map(work, range(self._clients)))
        return list(itertools.chain(*(numbers for numbers, _ in parts))), sum(each for _, each in parts)

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=CLIENT_PATIENCE_SECONDS)

"""Where servers of our own listen."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from fastapi_events.embedded import probe


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


def test_a_server_that_is_down_loses_its_port_to_no_outgoing_connection() -> None:
    with socket.socket() as outgoing:
        outgoing.bind(("127.0.0.1", 0))  # as the kernel does for a connection
        assert probe.free_port() < probe._PORTS.stop <= outgoing.getsockname()[1]


def test_a_port_that_is_taken_is_passed_over(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    free = probe.free_port()
    monkeypatch.setattr(probe, "_PORT_ATTEMPTS", 2)
    monkeypatch.setattr(probe, "_PORTS", [taken, free])
    assert probe.free_port() == free


def test_where_all_are_taken_the_error_says_so(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_PORT_ATTEMPTS", 1)
    monkeypatch.setattr(probe, "_PORTS", range(taken, taken + 1))
    with pytest.raises(OSError, match=f"between {taken:,} and {taken + 1:,} seems to be free"):
        probe.free_port()

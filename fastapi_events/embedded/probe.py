"""Just enough of Redis's protocol to ask a server whether it is up, and which process it is."""

from __future__ import annotations

import contextlib
import random
import re
import socket

_TIMEOUT = 1.0

_PORTS = range(20_000, 32_768)
"""Below those that the kernel gives to outgoing connections: one of them might get a server's port while the
server is down, even a connection to that very port, which then talks to itself."""

_PORT_ATTEMPTS = 200


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens to, as yet, and that no outgoing connection will be given.

    Raises:
        OSError: When there seems to be none.
    """
    for port in random.sample(_PORTS, _PORT_ATTEMPTS):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError(f"no port of 127.0.0.1 between {_PORTS.start:,} and {_PORTS.stop:,} seems to be free")


def is_listening(port: int) -> bool:
    """Whether someone on 127.0.0.1 takes connections at the port."""
    with socket.socket() as probe:
        probe.settimeout(_TIMEOUT)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def ready_pid(port: int) -> int | None:
    """The pid of the server at the port, once it answers PING; None while it is absent or still loading."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT) as connection:
            connection.sendall(b"PING\r\nINFO server\r\n")
            with connection.makefile("rb") as answers:
                if answers.readline() != b"+PONG\r\n":
                    return None
                length = int(answers.readline().removeprefix(b"$"))
                found = re.search(rb"^process_id:(\d+)", answers.read(length), re.MULTILINE)
    except (OSError, ValueError):
        return None
    return int(found[1]) if found else None

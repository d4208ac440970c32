"""A PostgreSQL of our own, where it is installed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from fastapi_events.embedded.probe import free_port

_VARIABLE = "FASTAPI_EVENTS_TEST_POSTGRES_URL"
_DEBIAN = Path("/usr/lib/postgresql")
_OWNER = "postgres"
_START_SECONDS = 60


@contextlib.contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """A server on the loopback interface with a database of its own, or the one that a variable names.

    Raises:
        RuntimeError: When it is not installed, or does not start.
    """
    if url := os.environ.get(_VARIABLE):
        yield url
        return
    programs = _programs()
    if programs is None:
        raise RuntimeError(f"PostgreSQL is not installed, and {_VARIABLE} not set")
    folder.mkdir()
    if os.geteuid() == 0:  # as which it refuses to run
        shutil.chown(folder, _OWNER)
        folder.parent.chmod(0o711)
    data, port = folder / "data", free_port()

    def run(program: str, *arguments: str) -> None:
        command = [str(programs / program), *arguments]
        owner = _OWNER if os.geteuid() == 0 else None
        with (folder.parent / "postgres.log").open("ab+") as log:
            made = subprocess.run(command, stdout=log, stderr=log, user=owner, cwd=folder, check=False)
            if made.returncode:
                log.seek(0)
                raise RuntimeError(f"{program} failed:\n{log.read().decode(errors='replace')[-2000:]}")

    run("initdb", "--pgdata", str(data), "--username", "events", "--auth", "trust", "--no-sync")
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories="
    control = ("pg_ctl", "--pgdata", str(data), "--timeout", str(_START_SECONDS))
    run(*control, "--options", options, "--log", str(folder / "log"), "start")
    try:
        run("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "events", "events")
        yield f"postgresql://events@127.0.0.1:{port}/events"
    finally:
        run(*control, "--mode", "immediate", "stop")


def _programs() -> Path | None:
    """Where they are: Debian keeps those of each version outside of the PATH."""
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    versions = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda each: float(each.parts[-3]))
    return versions[-1].parent if versions else None

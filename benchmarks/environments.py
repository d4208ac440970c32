"""The peers' environments: each has its libraries to itself, where ours cannot be in their way.

The predecessor's package has our name. It gets the versions of all other libraries that we have, so that
it alone makes the difference.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

from benchmarks.words import OURS, PEERS, PREDECESSOR

FOLDER = Path(__file__).parents[1] / ".venv-bench"

_REQUIREMENTS = {
    PREDECESSOR: [
        "fastapi-events==0.12.2", "fastapi", "uvicorn", "dramatiq[redis]", "celery[redis]", "hiredis",
        "opentelemetry-api",
    ],
    PEERS: ["taskiq", "taskiq-redis", "faststream[redis]", "hiredis"],
}  # fmt: skip


class NoEnvironmentError(Exception):
    """Raised when a peer's libraries cannot be installed, say because there is no network."""


def python_of(name: str) -> str:
    """The interpreter of an environment, which is made at first use.

    Raises:
        NoEnvironmentError: When it cannot be made.
    """
    if name == OURS:
        return sys.executable
    requirements = _REQUIREMENTS[name]
    constraints = _our_versions() if name == PREDECESSOR else []
    made_of = "\n".join([sys.version, *requirements, *constraints])
    folder = FOLDER / name
    stamp = folder / "made-of.txt"
    python = folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != made_of:
        _make(folder, python, requirements, constraints)
        stamp.write_text(made_of)
    return str(python)


def _make(folder: Path, python: Path, requirements: list[str], constraints: list[str]) -> None:
    venv.create(folder, with_pip=True, clear=True)
    listed = folder / "constraints.txt"
    listed.write_text("\n".join(constraints))
    pip = [str(python), "-m", "pip", "-qq", "--disable-pip-version-check", "install"]
    run = subprocess.run(
        [*pip, "--constraint", str(listed), *requirements], capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise NoEnvironmentError(f"cannot install {' '.join(requirements)}:\n{run.stderr[-1000:]}")


def _our_versions() -> list[str]:
    return sorted(
        f"{each.metadata['Name']}=={each.version}"
        for each in metadata.distributions()
        if each.metadata["Name"] and each.metadata["Name"].lower() not in ("fastapi-events", "pip")
    )

"""Run mypy and pyright over this folder and the package, and say where they differ from what is expected.

Both have to accept `public_api.py`, and to refuse exactly the lines of `refused.py` that say so. Of the types
of what the package offers pyright has to know nearly all.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = "fastapi_events"

LEAST_COMPLETENESS = 0.98
"""The part of the symbols that users may import whose types pyright has to know without inferring them."""

Found = dict[str, set[int]]
"""The lines with errors, by the file's name."""


def expected() -> Found:
    """The lines that say that they are refused."""
    return {
        path.name: {
            number
            for number, line in enumerate(path.read_text().splitlines(), 1)
            if line.endswith("  # refused")
        }
        for path in _files()
    }


def by_mypy() -> Found:
    """The lines that mypy --strict refuses, as pyproject.toml configures it."""
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--no-error-summary",
        "--hide-error-context",
        *map(str, _files()),
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found: Found = {path.name: set() for path in _files()}
    for line in ran.stdout.splitlines():
        if place := re.match(r"(?P<file>\S+):(?P<line>\d+):(?:\d+:)? error: ", line):
            found.setdefault(Path(place["file"]).name, set()).add(int(place["line"]))
    if ran.returncode > 1 or ran.stderr:
        raise SystemExit(f"mypy could not do it:\n{ran.stdout}{ran.stderr}")
    return found


def by_pyright() -> Found:
    """The lines that pyright refuses, in its strict mode."""
    found: Found = {path.name: set() for path in _files()}
    for each in _pyright(ROOT, *map(str, _files()))["generalDiagnostics"]:
        if each["severity"] == "error":
            found.setdefault(Path(each["file"]).name, set()).add(each["range"]["start"]["line"] + 1)
    return found


def completeness() -> tuple[float, list[str]]:
    """Which part of what the package offers has a known type, and what has not."""
    with tempfile.TemporaryDirectory() as elsewhere:  # in the checkout it finds the sources, and no package
        report = _pyright(Path(elsewhere), "--verifytypes", PACKAGE, "--ignoreexternal")["typeCompleteness"]
    vague = [each["name"] for each in report["symbols"] if each["isExported"] and not each["isTypeKnown"]]
    return report["completenessScore"], vague


def _files() -> list[Path]:
    return sorted(path for path in HERE.glob("*.py") if not path.name.startswith("__"))


def _pyright(directory: Path, *arguments: str) -> Any:
    command = ["basedpyright", "--outputjson", "--pythonpath", sys.executable, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": _path()}
    ran = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    try:
        return json.loads(ran.stdout)
    except ValueError:
        raise SystemExit(f"pyright could not do it:\n{ran.stdout}{ran.stderr}") from None


def _path() -> str:
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])


def differences() -> Iterator[str]:
    """What each checker accepts or refuses, and should not."""
    wanted = expected()
    for checker, found in (("mypy", by_mypy()), ("pyright", by_pyright())):
        for name in sorted({*wanted, *found}):
            should, does = wanted.get(name, set()), found.get(name, set())
            yield from (f"{name}:{line}: {checker} accepts what it should refuse" for line in should - does)
            yield from (f"{name}:{line}: {checker} refuses what it should accept" for line in does - should)
    score, vague = completeness()
    if score < LEAST_COMPLETENESS:
        yield f"pyright knows {score:.1%} of the types, less than {LEAST_COMPLETENESS:.0%}; not those of:"
        yield from vague
    else:
        sys.stdout.write(f"pyright knows {score:.1%} of the types that the package offers\n")


def main() -> int:
    """Print the differences; the process ends with 1 where there are any."""
    told = list(differences())
    sys.stdout.writelines(f"{line}\n" for line in told)
    return int(bool(told))


if __name__ == "__main__":
    sys.exit(main())

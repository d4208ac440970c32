"""The environment that `make` makes, beside one that somebody has already."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with the Makefile, and with what it depends on."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def commands(folder: Path, target: str) -> str:
    """What `make` would do."""
    run = subprocess.run(
        ["make", "--dry-run", target], cwd=folder, capture_output=True, text=True, check=True
    )
    return run.stdout


def test_an_environment_of_ones_own_is_left_alone(clone: Path) -> None:
    (clone / ".venv").mkdir()

    for target in ("demo", "clean"):
        said = commands(clone, target)
        assert ".venv-make" in said
        assert ".venv/" not in said
        assert ".venv " not in said


@pytest.mark.parametrize("marker", [None, ".ours", ".made"])
def test_its_own_is_used_again(clone: Path, marker: str | None) -> None:
    if marker is not None:
        (clone / ".venv").mkdir()
        (clone / ".venv" / marker).touch()

    said = commands(clone, "demo")

    assert ".venv/bin/python -m examples.demo" in said
    assert ".venv-make" not in said

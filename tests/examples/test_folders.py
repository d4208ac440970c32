"""Each folder of examples, copied to a place of its own as a user does: its tests pass."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.test_claims import console
from tests.fork_server import ForkServer
from tests.processes import PATIENCE_SECONDS

EXAMPLES = Path(__file__).parents[2] / "examples"
FOLDERS = sorted(path.parent for path in EXAMPLES.glob("*/README.md"))
WITH_TESTS = [folder for folder in FOLDERS if list(folder.glob("test_*.py"))]

TARGET = re.compile(
    r"^(?:\w+=\S+ )*(?:uvicorn|dramatiq|celery -A|fastapi-events [a-z]+(?: [a-z]+)?)"
    r" (\w+(?:\.\w+)*)(?::(\w+))?(?= |$)"
)
"""The module, and perhaps the name in it, that a command is given."""

IMPORTED = (
    "fastapi.testclient",
    "fastapi_events.handlers.celery",
    "fastapi_events.handlers.dramatiq.redis_broker",
    "fastapi_events.pytest_plugin",
    "fastapi_events.storage.sqlalchemy",
    "fastapi_events.testing.strategies",
    "pytest",
)

RUN = """
import importlib, sys
sys.dont_write_bytecode = True
import pytest
warnings = [
    "error",
    "ignore::pytest.PytestAssertRewriteWarning",  # of what was imported before the fork
    "ignore:It looks like `register_random` was passed an object:Warning",  # Hypothesis on Python 3.14
]
plugins = ["fastapi_events.pytest_plugin", "no:cacheprovider"]
code = pytest.main(["-q", *(f"-W{each}" for each in warnings), *(f"-p{each}" for each in plugins)])
for target in sys.argv[1:]:
    module, _, name = target.partition(":")
    found = importlib.import_module(module)
    assert not name or hasattr(found, name), target
sys.exit(code)
"""


@pytest.fixture(scope="module")
def process() -> Iterator[ForkServer]:
    """A process that has imported what every folder needs."""
    server = ForkServer(*IMPORTED)
    yield server
    server.close()


def targets(folder: Path) -> set[str]:
    """What the commands of a folder's README want to import."""
    found = (TARGET.match(line) for line in console(folder / "README.md"))
    return {":".join(filter(None, match.groups())) for match in found if match}


@pytest.mark.parametrize("folder", WITH_TESTS, ids=lambda folder: folder.name)
def test_the_tests_of_a_folder_pass(folder: Path, tmp_path: Path, process: ForkServer) -> None:
    copy = shutil.copytree(
        folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("__pycache__", "*.db")
    )
    output = tmp_path / "output"
    wanted = targets(folder)
    home = {name: value for name, value in os.environ.items() if name not in ("BROKER_URL", "DATABASE_URL")}
    env = {**home, "CI": "true", "PYTHONPATH": str(copy), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

    run = process.start(["-c", RUN, *sorted(wanted)], folder=copy, env=env, output=output)

    assert run.wait(PATIENCE_SECONDS) == 0, output.read_text()
    assert re.search(r"^\d+ passed in ", output.read_text(), re.MULTILINE), output.read_text()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_its_readme_names_files_that_there_are(folder: Path) -> None:
    named = re.findall(r"^\| `([\w./]+)` \|", (folder / "README.md").read_text(), re.MULTILINE)

    assert named
    for name in named:
        assert (folder / name).exists(), name


def test_the_list_names_each_folder() -> None:
    listed = re.findall(
        r"^\| \[`(\w+)`\]\(\1/README.md\) \|", (EXAMPLES / "README.md").read_text(), re.MULTILINE
    )

    assert sorted(listed) == [folder.name for folder in FOLDERS]

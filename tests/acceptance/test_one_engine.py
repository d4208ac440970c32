"""The wheel in a fresh environment with one engine: its workers run, and say which is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.processes import Project

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]

WORKER = {
    "dramatiq": ["dramatiq", "workers", "--processes", "1", "--threads", "2"],
    "celery": ["celery", "-A", "workers", "worker", "--pool", "solo", "--without-mingle", "--without-gossip"],
}

HANDLERS = """
    import redis
    from workers.events import events

    @events.register(event_name="hello")
    def hello(event):
        redis.Redis.from_url("redis://localhost:6379/0").rpush("handled", f"{event.payload}")
"""

DISPATCH = """
from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import NotPublished
from fastapi_events.scope import collect_events
from workers.events import events

[handler] = events.handlers.values()
for attempt in range(30):  # the first flush connects within its second, or not, on a busy machine
    try:
        with collect_events([handler], raise_errors=True):
            dispatch("hello", 7)
    except NotPublished:
        continue
    break
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    assert built.returncode == 0, built.stdout + built.stderr
    [wheel] = folder.glob("*.whl")
    return wheel


def _needed(distribution: Distribution, extras: frozenset[str]) -> Iterator[Distribution]:
    """What a distribution asks for: those that are installed here, as none is that nobody asks for."""
    for line in distribution.requires or ():
        wanted = Requirement(line)
        environments = [{"extra": extra} for extra in ("", *extras)]
        if wanted.marker is None or any(map(wanted.marker.evaluate, environments)):
            found = Distribution.from_name(wanted.name)
            assert wanted.specifier.contains(found.version, prereleases=True), f"{line}, not {found.version}"
            yield found
            yield from _needed(found, frozenset(wanted.extras))


@pytest.fixture(params=["dramatiq", "celery"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def python(engine: str, wheel: Path, tmp_path: Path) -> Path:
    """The interpreter of an environment with the wheel and one engine, and nothing that they do not ask for.

    It needs no index: what is installed here, compiled already, is there by the same names.
    """
    environment = tmp_path / "environment"
    venv.create(environment)
    [packages] = environment.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    [ours] = distributions(path=[str(packages)])
    for each in _needed(ours, frozenset({engine})):
        for file in each.files or ():
            target = packages / file
            if ".." not in file.parts and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(each.locate_file(file))
    return environment / "bin" / "python"


def test_the_workers_of_the_engine_run_and_the_commands_work(
    engine: str, python: Path, project: Project
) -> None:
    other = "celery" if engine == "dramatiq" else "dramatiq"
    shutil.copytree(ROOT / "workers", project.folder / "workers")
    project.write(handlers=HANDLERS)
    settings = {
        "FASTAPI_EVENTS_BROKER_URL": project.url,
        "FASTAPI_EVENTS_HANDLERS": "app.handlers",
        "PYTHONPATH": str(project.folder),
    }

    # When: its worker runs, and a script dispatches
    worker = project.start_fresh(str(python), "-m", *WORKER[engine], **settings)
    done = subprocess.run(
        [python, "-c", DISPATCH],
        cwd=project.folder, env={**os.environ, **settings}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    # Then: it is handled, both say that the other engine is missing, and `doctor` looks at the one
    assert done.returncode == 0, done.stderr
    assert f"Functions are registered for {engine} only. {other} is not installed." in done.stderr
    assert project.told("handled") == "7"
    assert worker.poll() is None
    assert f"{other} is not installed." in project.logs()
    doctor = subprocess.run(
        [python, "-m", "fastapi_events", "doctor", f"workers.{engine}"],
        cwd=project.folder, env={**os.environ, **settings}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert doctor.stdout.startswith(f"{engine}:events\n"), doctor.stderr

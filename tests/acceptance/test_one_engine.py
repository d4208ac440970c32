"""The wheel in a fresh environment with one engine: its workers run, and say which is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.processes import Project

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.installs, pytest.mark.acceptance, pytest.mark.valkey, pytest.mark.timeout(600)]

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


def _run(*command: str | Path) -> None:
    ran = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, timeout=500)
    if ran.returncode and os.environ.get("CI") != "true" and "No matching distribution" in ran.stderr:
        pytest.skip("no package index can be reached")
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    _run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def pip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pip for the other environments: a copy in each takes seconds."""
    environment = tmp_path_factory.mktemp("pip")
    venv.create(environment, with_pip=True)
    return environment / "bin" / "pip"


@pytest.fixture(params=["dramatiq", "celery"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def python(engine: str, wheel: Path, pip: Path, tmp_path: Path) -> Path:
    """The interpreter of an environment with the wheel and one engine."""
    environment = tmp_path / "environment"
    venv.create(environment)
    # Uncompiled: the test imports a small part of it.
    _run(pip, "--python", environment, "install", "-q", "--no-compile", f"{wheel}[{engine}]")
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

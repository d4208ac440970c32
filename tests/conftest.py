"""What every test may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fastapi_events import lifecycle
from fastapi_events.embedded import EmbeddedServer
from tests import places
from tests.processes import Project
from tests.recording import Diary

# Our own suite tests what happens by default: errors of handlers are logged, not raised.


@pytest.fixture
def diary() -> Iterator[Diary]:
    """Every lifecycle hook that is called during the test."""
    observer = Diary()
    lifecycle.observe(observer)
    yield observer
    lifecycle.forget(observer)


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Redis-compatible server for the whole session: the embedded one."""
    with EmbeddedServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server.url


STUB = "dramatiq-stub"
DRAMATIQ = pytest.param("dramatiq-valkey", marks=pytest.mark.valkey)
CELERY = pytest.param("celery-valkey", marks=pytest.mark.valkey)


@pytest.fixture
def handler_settings() -> dict[str, Any]:
    """Settings of the handler of `queue_place`; a module that needs some overrides this."""
    return {}


@contextmanager
def _place(kind: str, request: pytest.FixtureRequest, **settings: Any) -> Iterator[Any]:
    if kind == "local":
        yield places.Local()
    elif kind == STUB:
        with places.dramatiq_on_stub(**settings) as place:
            yield place
    else:
        make = places.dramatiq_on_redis if kind == "dramatiq-valkey" else places.celery_on_redis
        with make(request.getfixturevalue("valkey_url"), **settings) as place:
            yield place


@pytest.fixture(params=[STUB, DRAMATIQ])
def dramatiq_place(request: pytest.FixtureRequest) -> Iterator[places.Dramatiq]:
    """Dramatiq, on every broker."""
    with _place(request.param, request) as place:
        yield place


@pytest.fixture(params=[STUB, DRAMATIQ, CELERY])
def queue_place(
    request: pytest.FixtureRequest, handler_settings: dict[str, Any]
) -> Iterator[places.QueuePlace]:
    """Every kind of task queue that subscriptions can run in."""
    with _place(request.param, request, **handler_settings) as place:
        yield place


@pytest.fixture(params=["local", STUB, DRAMATIQ, CELERY])
def place(request: pytest.FixtureRequest) -> Iterator[places.Place]:
    """Every kind of place that subscriptions can run in."""
    with _place(request.param, request) as place:
        yield place


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """A folder for an application, a server of its own, and processes that end with the test."""
    with EmbeddedServer(tmp_path / "valkey") as server:
        project = Project(tmp_path, server.url)
        yield project
        project.close()

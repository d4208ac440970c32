"""What every test may ask for."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from fastapi_events import lifecycle
from fastapi_events.embedded import EmbeddedServer
from fastapi_events.handlers.task_queue.publish.batching_thread import BatchingThread
from tests import places
from tests.faulty import Faults, install
from tests.fork_server import ForkServer
from tests.ports import free_port
from tests.processes import Project, a_project
from tests.rabbitmq import Node, has_virtual_host, server_program
from tests.recording import Diary

# A shell that starts us in the background has us ignore SIGINT, and our processes, too; some are to get it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on what else the machine does.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# Our own suite tests what happens by default: errors of handlers are logged, not raised.

FAULT_SEED = "--fault-seed"

collect_ignore = ["faults"]  # it takes minutes; `make faults` names it, and what is named is collected


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(FAULT_SEED, type=int, help="run among faults that change no outcome, drawn from a seed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """More at once than there are processors: most of their time tests wait, for processes and servers."""
    processors = os.cpu_count() or 1
    return min(3 * processors, processors + 6)


def pytest_configure(config: pytest.Config) -> None:
    """Seed the order of tests, and not the draws of ports: two runs with one seed would meet."""
    config.option.randomly_reset_seed = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse ids that differ from process to process: then tests cannot be run by several at once."""
    if addresses := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"The id of a test holds an address; give its parameters ids: {addresses[0]}")


def pytest_collection_finish() -> None:
    """Let the garbage collector look through what tests make, and not through all that is imported."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _faults(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = request.config.getoption(FAULT_SEED)
    if seed is not None:
        install(Faults(seed), monkeypatch)


@pytest.fixture(autouse=True)
def _idle_threads() -> Iterator[None]:
    """End the threads that publish for handlers of the test: most are dropped, and never shut down."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        owner = getattr(getattr(thread, "_target", None), "__self__", None)
        if isinstance(owner, BatchingThread) and owner.is_idle:
            owner.shutdown(0.0)


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
    with EmbeddedServer(tmp_path_factory.mktemp("valkey"), port=free_port()) as server:
        yield server.url


@pytest.fixture(scope="session")
def amqp_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A RabbitMQ server that runs already: at home there may be none, in CI there has to be one.

    Where several processes run tests, each has a virtual host called like it, as `gw0`, or if the server has
    none, a node of its own: the names of queues are the same in all.
    """
    url = os.environ.get("FASTAPI_EVENTS_TEST_AMQP_URL")
    if url is None and os.environ.get("CI") == "true":
        pytest.fail("FASTAPI_EVENTS_TEST_AMQP_URL is not set, and in CI RabbitMQ has to be there")
    if url is None:
        pytest.skip("FASTAPI_EVENTS_TEST_AMQP_URL is not set: no RabbitMQ")
    process = os.environ.get("PYTEST_XDIST_WORKER")
    if process is not None and has_virtual_host(f"{url}{process}"):
        yield f"{url}{process}"
        return
    if process is None or server_program() is None:
        yield url
        return
    node = Node(tmp_path_factory.mktemp("rabbitmq") / "node")
    try:
        node.start()
        yield node.url
    finally:
        node.close()


STUB = "dramatiq-stub"
DRAMATIQ = [
    pytest.param("dramatiq-valkey", marks=pytest.mark.valkey),
    pytest.param("dramatiq-rabbitmq", marks=pytest.mark.rabbitmq),
]
CELERY = [
    pytest.param("celery-valkey", marks=pytest.mark.valkey),
    pytest.param("celery-rabbitmq", marks=pytest.mark.rabbitmq),
]

# Where each is, and the server it needs.
PLACES = {
    "dramatiq-valkey": (places.dramatiq_on_redis, "valkey_url"),
    "dramatiq-rabbitmq": (places.dramatiq_on_rabbitmq, "amqp_url"),
    "celery-valkey": (places.celery_on_redis, "valkey_url"),
    "celery-rabbitmq": (places.celery_on_rabbitmq, "amqp_url"),
}


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
        make, server = PLACES[kind]
        with make(request.getfixturevalue(server), **settings) as place:
            yield place


@pytest.fixture(params=[STUB, *DRAMATIQ])
def dramatiq_place(request: pytest.FixtureRequest) -> Iterator[places.Dramatiq]:
    """Dramatiq, on every broker."""
    with _place(request.param, request) as place:
        yield place


@pytest.fixture(params=[STUB, *DRAMATIQ, *CELERY])
def queue_place(
    request: pytest.FixtureRequest, handler_settings: dict[str, Any]
) -> Iterator[places.QueuePlace]:
    """Every kind of task queue that subscriptions can run in."""
    with _place(request.param, request, **handler_settings) as place:
        yield place


@pytest.fixture(params=["local", STUB, *DRAMATIQ, *CELERY])
def place(request: pytest.FixtureRequest) -> Iterator[places.Place]:
    """Every kind of place that subscriptions can run in."""
    with _place(request.param, request) as place:
        yield place


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Where real processes start at once."""
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def project(tmp_path: Path, fork_server: ForkServer) -> Iterator[Project]:
    """A folder for an application, a server of its own, and processes that end with the test."""
    with a_project(tmp_path, fork_server) as project:
        yield project

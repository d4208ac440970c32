"""The shop under fault, on every engine and broker."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.faults.brokers import Broker, RabbitMQ, Valkey, virtual_hosts
from tests.faults.history import Verdict
from tests.faults.results import Result, record
from tests.faults.running import Shop
from tests.fork_server import ForkServer
from tests.proxy import Proxy
from tests.rabbitmq import server_program

EVENTS = int(os.environ.get("FASTAPI_EVENTS_FAULTS_EVENTS", "1000"))
"""Events that a row sends; fewer while one writes a test."""

QUICK = EVENTS <= 200
"""Whether this is the run of each change, rather than that before a release."""

RESEND_AFTER_SECONDS = 20.0
"""Longer than a Celery worker takes for a thousand events, so that few are sent again without need."""

PATIENT = {"resend_after": 60.0, "flush_deadline": 10.0}
"""For rows that count how often something has run: nothing is sent again just because the machine is slow."""

# It takes minutes, and is asked for by its seeds.
collect_ignore = [] if "FASTAPI_EVENTS_CHAOS_SEEDS" in os.environ else ["test_38_chaos.py"]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two rows at once with all events, which keep two processors busy; more with few, which mostly wait."""
    return 8 if QUICK else 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(400))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give `row` its engines and brokers: those of the mark `pairs`, else all, of which few events take two.

    The two have each engine and each broker. Which two they are changes from row to row.
    """
    if "row" not in metafunc.fixturenames:
        return
    mark = metafunc.definition.get_closest_marker("pairs")
    number = int(next(iter(re.findall(r"test_(\d+)_", metafunc.module.__name__)), 0))
    usual = HALVES[number % 2] if QUICK else ON_ALL
    metafunc.parametrize("row", params(mark.args[0] if mark else usual), indirect=True)


class Row:
    """One row of the table on one engine and broker: makes shops, and records what came of them."""

    def __init__(self, folder: Path, engine: str, broker: Broker, fork_server: ForkServer) -> None:
        self.engine = engine
        self.broker = broker
        self.events = EVENTS
        self._folder = folder
        self._fork_server = fork_server
        self._stack = ExitStack()

    def shop(self, *, through: Proxy | None = None, **config: Any) -> Shop:
        """A shop of its own, whose processes end with the test.

        Parameters:
            through: Between all of its processes and the broker.
            config: See `tests.faults.shop.events`; `broker_url` leads to others than the row's broker.

        On Celery over Redis it keeps events until they are handled: a message that a worker has just been
        handed is nowhere else, and gone if worker or server dies before the worker has put it back on record
        (https://github.com/celery/kombu/issues/305).
        """
        if self._needs_receipts and config.get("outbox", True):
            kept = {"confirm": "handled", "resend_after": RESEND_AFTER_SECONDS}
            config["handler"] = {**kept, **config.get("handler", {})}
        folder = self._folder / "shop"
        folder.mkdir()
        if through is not None:
            config["broker_url"] = self.broker.url_through(through.port)
        shop = Shop(folder, self.engine, self.broker, fork_server=self._fork_server, **config)
        self._stack.callback(shop.close)
        return shop

    @property
    def _needs_receipts(self) -> bool:
        return (self.engine, self.broker.name) == ("celery", "valkey")

    def proxy(self) -> Proxy:
        """A proxy before the broker, which ends with the test."""
        return self._stack.enter_context(Proxy(self.broker.port))

    def record(self, row: int, fault: str, mode: str, verdict: Verdict) -> None:
        """Write down what was measured."""
        if self._needs_receipts and mode != "no outbox" and "confirm" not in mode:
            mode = f'{mode}, confirm="handled"'
        record(
            Result(
                row=row, fault=fault, engine=self.engine, broker=self.broker.name, mode=mode,
                events=verdict.events, handled=verdict.handled, duplicates=verdict.duplicates,
                dead=verdict.dead, reported=verdict.reported, lost=len(verdict.lost),
            )
        )  # fmt: skip

    def close(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Iterator[RabbitMQ]]:
    """Virtual hosts of RabbitMQ, one for each row, of a node of this process."""
    with contextlib.closing(virtual_hosts(tmp_path_factory.mktemp("rabbitmq"))) as hosts:
        yield hosts


def _row(request: pytest.FixtureRequest, folder: Path) -> Iterator[Row]:
    engine, broker = request.param
    if broker == "rabbitmq" and server_program() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("rabbitmq-server must be installed in CI")
        pytest.skip("needs rabbitmq-server")
    in_rabbitmq = broker == "rabbitmq"
    server: Broker = next(request.getfixturevalue("hosts")) if in_rabbitmq else Valkey(folder / "broker")
    try:
        row = Row(folder, engine, server, request.getfixturevalue("fork_server"))
        try:
            yield row
        finally:
            row.close()
    finally:
        server.close()


@pytest.fixture
def seeds(request: pytest.FixtureRequest) -> range:
    """Of the draws of faults: the one that was asked for, or fifty; ten with few events."""
    seed = request.config.getoption("--fault-seed")
    return range(10 if QUICK else 50) if seed is None else range(seed, seed + 1)


ON_VALKEY = [("dramatiq", "valkey"), ("celery", "valkey")]
ON_RABBITMQ = [("dramatiq", "rabbitmq"), ("celery", "rabbitmq")]
ON_ALL = [*ON_VALKEY, *ON_RABBITMQ]
HALVES = [[ON_VALKEY[0], ON_RABBITMQ[1]], [ON_VALKEY[1], ON_RABBITMQ[0]]]
"""Of all: two halves, each of which has each engine and each broker."""


def params(pairs: list[tuple[str, str]]) -> list[Any]:
    return [pytest.param(pair, id="-".join(pair), marks=[getattr(pytest.mark, pair[1])]) for pair in pairs]


@pytest.fixture
def row(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Row]:
    """Engines on brokers; see `pytest_generate_tests`."""
    yield from _row(request, tmp_path)


@pytest.fixture(params=params(ON_VALKEY[:1]))
def one_row(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Row]:
    """One engine on one broker, for what neither makes a difference to."""
    yield from _row(request, tmp_path)


@pytest.fixture(params=params(ON_VALKEY))
def row_on_valkey(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Row]:
    """Every engine on Valkey."""
    yield from _row(request, tmp_path)

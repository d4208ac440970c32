"""The shop's processes, its broker, and the orders that a test places there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import celery
import dramatiq
import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker

from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.outbox import Entry
from fastapi_events.storage.sqlalchemy import SqlStore
from tests.faults.brokers import Broker
from tests.faults.history import History, Verdict
from tests.faults.traffic import Traffic
from tests.fork_server import ForkedProcess, ForkServer
from tests.ports import free_port
from tests.proxy import Proxy

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 180
"""Until the test gives up on something that should happen by itself."""

Process: TypeAlias = ForkedProcess | subprocess.Popen[bytes]


class Shop:
    """A web process and workers of one engine, on one broker.

    Parameters:
        folder: Where its processes write down what they do.
        engine: `dramatiq` or `celery`.
        broker: Its server.
        fork_server: Where its processes start.
        broker_url: Where its processes look for the broker instead, such as a proxy, or a list of brokers.
        config: See `tests.faults.shop.events`.
    """

    def __init__(
        self,
        folder: Path,
        engine: str,
        broker: Broker,
        *,
        fork_server: ForkServer,
        broker_url: str | list[str] | None = None,
        **config: Any,
    ) -> None:
        self.folder = folder
        self.engine = engine
        self.broker = broker
        self.history = History(folder)
        self._fork_server = fork_server
        self.restarts = 0
        self.config: dict[str, Any] = {"engine": engine, "broker_url": broker_url or broker.url, **config}
        self.failed_requests = 0
        self._processes: list[Process] = []
        self._workers: list[Process] = []
        self._next = 1
        self.port = 0
        if config.get("clock"):
            (folder / "clock").write_text("0")

    # Processes

    def start_web(self, **env: str) -> Process:
        """Start the web process, and wait until it answers."""
        self.port = free_port()
        arguments = ("--port", str(self.port), "--log-level", "warning")
        web = self._start("web", ["uvicorn", "tests.faults.shop.web:app", *arguments], env)
        self.wait_until(lambda: self._answers(web), "the web process's first answer")
        return web

    def start_worker(
        self, *, module: str | None = None, through: Proxy | None = None, **config: Any
    ) -> Process:
        """Start a worker, which is to be back whenever it ends; see `tend`.

        Parameters:
            module: Of the shop: what the worker runs; the shop's own choice if not given.
            through: Between this worker and the broker.
            config: What is different for this worker.
        """
        module = module or self.config.get("module", "handlers")
        if through is not None:
            config["broker_url"] = self.broker.url_through(through.port)
        env = {"SHOP_CONFIG": json.dumps({**self.config, **config})}
        if self.engine == "celery":
            pool = self.config.get("pool", "threads")
            command = ["celery", "-A", f"tests.faults.shop.{module}", "worker", "-P", pool, "-c", "4",
                       "-n", f"worker-{len(self._processes)}@%h",
                       "--loglevel", "warning"]  # fmt: skip
        else:
            command = [
                "dramatiq",
                f"tests.faults.shop.{module}",
                "--processes",
                "1",
                "--threads",
                "4",
                "--worker-fork-timeout",
                "10000",
            ]  # else one that dies as it starts is waited for
        worker = self._start("worker", command, env)
        self._workers.append(worker)
        return worker

    def start_supervised_worker(self, *options: str) -> int:
        """Start a worker with a supervisor of its own, and return the port of its probes.

        Parameters:
            options: Of the command `worker`.
        """
        port = free_port()
        engines_own = ["--processes", "1", "--threads", "4"]
        if self.engine == "celery":
            engines_own = ["-P", "threads", "-c", "4", "--loglevel", "warning"]
        probes = ["--probe", f"127.0.0.1:{port}"]
        command = ["fastapi_events", "worker", "tests.faults.shop.handlers", *probes, *options]
        self._start("worker", [*command, "--", *engines_own], {})
        return port

    def start_relay(self, **env: str) -> Process:
        """Start a relay as a process of its own."""
        return self._start("relay", ["fastapi_events", "relay", "tests.faults.shop.events:events"], env)

    def run(self, code: str, *arguments: str) -> Process:
        """Start a script that uses the shop."""
        (self.folder / "script.py").write_text(code)
        return self._start_fresh([str(self.folder / "script.py"), *arguments])

    def output(self, *command: str) -> str:
        """Run a command to its end, and return what it prints."""
        process = self._start("command", list(command), {})
        assert process.wait(PATIENCE_SECONDS) == 0, self.logs()
        return (self.folder / f"command-{len(self._processes) - 1}.log").read_text()

    def start(self) -> None:
        """Start a web process and a worker."""
        self.start_worker()
        self.start_web()

    @property
    def workers(self) -> list[Process]:
        """Those that are to run."""
        return list(self._workers)

    def tend(self) -> None:
        """Start those workers again that have ended, as a supervisor would."""
        for worker in list(self._workers):
            if worker.poll() is not None:
                self._workers.remove(worker)
                self.restarts += 1
                self.start_worker()

    def kill(self, process: Process) -> None:
        """Kill a process and its children; nobody starts it again."""
        self.signal(process, signal.SIGKILL)
        process.wait(PATIENCE_SECONDS)
        if process in self._workers:
            self._workers.remove(process)

    def dismiss(self, process: Process) -> None:
        """Ask a worker's master to stop; nobody starts it again."""
        process.send_signal(signal.SIGTERM)
        self._workers.remove(process)

    def signal(self, process: Process, number: int) -> None:
        """Send a signal to a process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)

    def close(self) -> None:
        """End every process."""
        for process in self._processes:
            if process.poll() is None:
                self.signal(process, signal.SIGKILL)
                process.wait(PATIENCE_SECONDS)

    def _start(self, kind: str, command: list[str], env: dict[str, str]) -> Process:
        process = self._fork_server.start(
            ["-m", *command],
            folder=self.folder,
            env={**self._env, **env},
            output=self.folder / f"{kind}-{len(self._processes)}.log",
        )
        self._processes.append(process)
        return process

    def _start_fresh(self, command: list[str]) -> Process:
        """Start a script that forks: in a process that is none itself."""
        with (self.folder / f"script-{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=self.folder, env=self._env, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._processes.append(process)
        return process

    @property
    def _env(self) -> dict[str, str]:
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "dramatiq_worker_timeout": "50",
            "SHOP_FOLDER": str(self.folder),
            "SHOP_CONFIG": json.dumps(self.config),
        }

    def _answers(self, web: Process) -> bool:
        assert web.poll() is None, f"the web process has ended\n{self.logs()}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
            return True
        return False

    # Orders

    def place(self, count: int, *, owed: bool = True, **how: Any) -> list[int]:
        """Place orders from several clients at once.

        Parameters:
            owed: Whether those whose response was complete have to be handled.
            how: See `Traffic.place`.
        """
        numbers = range(self._next, self._next + count)
        self._next += count
        accepted, failed = Traffic(self.port).place(numbers, **how)
        self.failed_requests += failed
        if owed:
            self.history.accept(accepted)
        return accepted

    def place_batch(self, count: int) -> range:
        """Place so many orders with one request, and return their numbers."""
        numbers = range(self._next, self._next + count)
        self._next += count
        accepted, failed = Traffic(self.port, clients=1).place(numbers[:1], count=count)
        assert (len(accepted), failed) == (1, 0)
        self.history.accept(numbers)
        return numbers

    def post(self, path: str, body: Any = None) -> Any:
        """A request of any kind, and its answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method="POST",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as response:
            return json.loads(response.read())

    def send(self, *arguments: Any, task: str = "fastapi_events.fan_out") -> None:
        """Put a message into the queue as another program might, with the engine's own client."""
        if self.engine == "celery":
            with celery.Celery(broker=self.broker.url, set_as_current=False) as app:
                app.send_task(task, args=arguments, queue="events", ignore_result=True)
            return
        broker: Any
        if self.broker.url.startswith("redis"):
            broker = RedisBroker(url=self.broker.url, middleware=[])
        else:
            broker = RabbitmqBroker(url=self.broker.url, middleware=[], confirm_delivery=True)
        broker.declare_queue("events")
        broker.enqueue(
            dramatiq.Message(queue_name="events", actor_name=task, args=arguments, kwargs={}, options={})
        )
        broker.close()

    def state(self) -> dict[str, int]:
        """What the web process holds."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/state", timeout=20) as response:
            answer: dict[str, int] = json.loads(response.read())
        return answer

    # What comes of them

    def wait_until(self, condition: Callable[[], object], what: str | Callable[[], str]) -> None:
        """Wait for something that happens by itself; workers that have ended are back meanwhile.

        Parameters:
            what: It is called so; or a function that says at the end what has not happened.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"{what if isinstance(what, str) else what()} did not happen\n{self.logs()}")
            self.tend()
            time.sleep(0.05)

    def settle(self, *, patience: float = PATIENCE_SECONDS) -> Verdict:
        """Wait until everything that was accepted is accounted for, and say how.

        Parameters:
            patience: Seconds after which what is left counts as lost.
        """
        deadline = time.monotonic() + patience
        while self.history.open() and time.monotonic() < deadline:
            self.tend()
            time.sleep(0.1)
        return self.history.verdict()

    def forward(self, seconds: float) -> None:
        """Let time pass for the store of a shop with `clock=True`; less than none puts its clock back."""
        clock = self.folder / "clock"
        new = clock.with_suffix(".new")
        new.write_text(str(float(clock.read_text()) + seconds))
        new.replace(clock)  # at once: the processes read it all the time

    def open_gate(self) -> None:
        """Let the subscriptions go on that wait in the middle of their work."""
        (self.folder / "gate").touch()

    def stored(self) -> list[Entry]:
        """What the outbox holds."""
        with self._store() as store:
            return store.outbox.list(limit=100_000)

    def sales(self) -> set[int]:
        """The numbers of the sales that have been committed."""
        with contextlib.closing(sqlite3.connect(self.folder / "events.db", timeout=30)) as connection:
            return {number for (number,) in connection.execute("SELECT number FROM sales")}

    def letters(self) -> list[DeadLetter]:
        """What stands among the dead letters."""
        with self._store() as store:
            return store.dead_letters.list(limit=100_000)

    @contextlib.contextmanager
    def _store(self) -> Iterator[SqlStore]:
        store = SqlStore(self.config.get("store_url") or f"sqlite:///{self.folder / 'events.db'}")
        try:
            yield store
        finally:
            store.close()

    def logs(self) -> str:
        """The end of what each process has printed."""
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-3_000:]}"
            for log in sorted(self.folder.glob("*.log"))
        )

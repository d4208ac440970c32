"""The shop's processes, its broker, and the orders that a test places there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.faults.brokers import Broker
from tests.faults.history import History, Verdict
from tests.faults.traffic import Traffic
from tests.rabbitmq import free_ports

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 120
"""Until the test gives up on something that should happen by itself."""

Process = subprocess.Popen[bytes]


class Shop:
    """A web process and workers of one engine, on one broker.

    Parameters:
        folder: Where its processes write down what they do.
        engine: `dramatiq` or `celery`.
        broker: Its server.
        broker_url: Where its processes look for the broker, if there is a proxy in between.
        config: See `tests.faults.shop.events`.
    """

    def __init__(
        self, folder: Path, engine: str, broker: Broker, *, broker_url: str | None = None, **config: Any
    ) -> None:
        self.folder = folder
        self.engine = engine
        self.broker = broker
        self.history = History(folder)
        self.restarts = 0
        self.config: dict[str, Any] = {"engine": engine, "broker_url": broker_url or broker.url, **config}
        self.failed_requests = 0
        self._processes: list[Process] = []
        self._workers: list[Process] = []
        self._next = 1
        self.port = 0

    # Processes

    def start_web(self, **env: str) -> Process:
        """Start the web process, and wait until it answers."""
        [self.port] = free_ports(1)
        arguments = ("--port", str(self.port), "--log-level", "warning")
        web = self._start("web", ["uvicorn", "tests.faults.shop.web:app", *arguments], env)
        self.wait_until(lambda: self._answers(web), "the web process's first answer")
        return web

    def start_worker(self, **env: str) -> Process:
        """Start a worker, which is to be back whenever it ends; see `tend`."""
        if self.engine == "celery":
            pool = self.config.get("pool", "threads")
            command = ["celery", "-A", "tests.faults.shop.handlers", "worker", "-P", pool, "-c", "4",
                       "--loglevel", "warning"]  # fmt: skip
        else:
            command = ["dramatiq", "tests.faults.shop.handlers", "--processes", "1", "--threads", "4"]
        worker = self._start("worker", command, env)
        self._workers.append(worker)
        return worker

    def start(self) -> None:
        """Start a web process and a worker."""
        self.start_worker()
        self.start_web()

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
        log = (self.folder / f"{kind}-{len(self._processes)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "dramatiq_worker_timeout": "50",
                "SHOP_FOLDER": str(self.folder),
                "SHOP_CONFIG": json.dumps(self.config),
                **env,
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()
        self._processes.append(process)
        return process

    def _answers(self, web: Process) -> bool:
        assert web.poll() is None, f"the web process has ended\n{self.logs()}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
            return True
        return False

    # Orders

    def place(self, count: int, **query: object) -> list[int]:
        """Place orders from several clients at once; those whose response was complete are owed."""
        numbers = range(self._next, self._next + count)
        self._next += count
        accepted, failed = Traffic(self.port).place(numbers, **query)
        self.failed_requests += failed
        self.history.accept(accepted)
        return accepted

    def place_batch(self, count: int) -> None:
        """Place so many orders with one request."""
        numbers = range(self._next, self._next + count)
        self._next += count
        accepted, failed = Traffic(self.port, clients=1).place(numbers[:1], count=count)
        assert (len(accepted), failed) == (1, 0)
        self.history.accept(numbers)

    def state(self) -> dict[str, int]:
        """What the web process holds."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/state", timeout=20) as response:
            answer: dict[str, int] = json.loads(response.read())
        return answer

    # What comes of them

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something that happens by itself; workers that have ended are back meanwhile."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not happen\n{self.logs()}"
            self.tend()
            time.sleep(0.05)

    def settle(self) -> Verdict:
        """Wait until everything that was accepted is accounted for, and say how."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self.history.open() and time.monotonic() < deadline:
            self.tend()
            time.sleep(0.1)
        return self.history.verdict()

    def open_gate(self) -> None:
        """Let the subscriptions go on that wait in the middle of their work."""
        (self.folder / "gate").touch()

    def logs(self) -> str:
        """The end of what each process has printed."""
        return "\n".join(
            f"--- {log.name}\n{log.read_text(errors='replace')[-3_000:]}"
            for log in sorted(self.folder.glob("*.log"))
        )

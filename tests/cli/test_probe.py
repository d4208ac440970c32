"""`fastapi-events probe` and `worker --probe`, with real workers that stop, and are started again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any
from urllib import error, request

import pytest

from fastapi_events import worker_reports
from fastapi_events.cli import main
from fastapi_events.embedded.lock import DirectoryLock
from tests.cli.test_worker import ARGUMENTS, EVENTS, HANDLERS, handled
from tests.integration.test_unlike_workers import function, module
from tests.ports import free_port
from tests.processes import Project, until


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a supervisor of `app.handlers` is at work, which has not looked at its workers yet."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    found = Path(worker_reports.base_of("app.handlers")) / "1"
    found.mkdir(parents=True)
    return found


def probe(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code = main(["probe", "app.handlers", "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_it_says_what_the_supervisor_has_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = DirectoryLock(folder, patience=0)
    lock.claim()
    try:
        assert probe(capsys)[0] == 1
        assert probe(capsys, "--live")[0] == 0
        found: Any = {"at": time.monotonic(), "live": True, "ready": True, "problems": [], "workers": []}
        worker_reports.write(str(folder), worker_reports.VERDICT, found)
        assert probe(capsys) == (0, {"ready": True, "problems": [], "workers": []})
        worker_reports.write(str(folder), worker_reports.VERDICT, found | {"ready": False})
        assert [probe(capsys)[0], probe(capsys, "--live")[0]] == [1, 0]
        worker_reports.write(str(folder), worker_reports.VERDICT, found | {"at": time.monotonic() - 60})
        assert [probe(capsys)[0], probe(capsys, "--live")[0]] == [1, 1]
    finally:
        lock.release()
    code, said = probe(capsys)  # a supervisor that was killed leaves its folder
    assert code == 1
    assert "no `fastapi-events worker app.handlers`" in said["problems"][0]


def test_it_imports_neither_the_application_nor_an_engine() -> None:
    code = (
        "import sys; from fastapi_events.cli import main; main(['probe', 'app.handlers']);"
        "print(sorted({'pydantic', 'celery', 'dramatiq', 'asyncio', 'app'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert ran.stdout.splitlines()[-1] == "[]"


PROBED = """
    import time

    @events.register(event_name="slow", name="slow")
    def slow(event):
        tell("begun", "slow")
        time.sleep(4)
"""


def ask(port: int, path: str) -> int:
    try:
        with request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return int(answer.status)
    except error.HTTPError as refused:
        with refused:
            return refused.code
    except OSError:
        return 0


@pytest.mark.valkey
@pytest.mark.acceptance
@pytest.mark.parametrize("engine", ["dramatiq", "celery"])
def test_a_worker_that_stands_still_is_not_ready_and_is_started_again(project: Project, engine: str) -> None:
    project.write(events=EVENTS[engine], handlers=HANDLERS + PROBED)
    port = free_port()
    command = (
        "worker",
        "app.handlers",
        "--probe",
        f"127.0.0.1:{port}",
        "--silent-after",
        "2",
        "--grace",
        "30",
    )
    project.start(
        "fastapi_events", *command, "--", *ARGUMENTS[engine], TMPDIR=str(project.folder)
    )  # fmt: skip

    # Given: a worker that is ready, and stays live through a function that takes longer than its limit
    until(lambda: ask(port, "/readyz") == 200, f"that it is ready\n{project.logs()}")
    with request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as metrics:
        assert b"# TYPE fastapi_events_" in metrics.read()
    project.dispatch("slow")
    project.told("begun")
    deadline = time.monotonic() + 4.5
    while time.monotonic() < deadline:
        assert ask(port, "/livez") == 200
        time.sleep(0.1)
    project.dispatch("hello", 1)
    pid = handled(project, "first 1")

    # When: its broker does not answer for a while
    project.redis.execute_command("CLIENT", "PAUSE", 6_000)
    until(lambda: ask(port, "/readyz") == 503, "that it is not ready without its broker")
    assert ask(port, "/livez") == 200
    until(lambda: ask(port, "/readyz") == 200, f"that it is ready again\n{project.logs()}")
    assert ask(port, "/livez") == 200

    # When: its process is stopped, with its question for the next message still at the broker
    os.kill(pid, signal.SIGSTOP)
    project.dispatch("hello", 2)

    # Then: it is not ready, and another takes its place, though nothing may wait in a queue. What was handed
    # to it is handled by itself as it wakes up to end, or by the other.
    until(lambda: ask(port, "/readyz") == 503, "that it is not ready")
    handled(project, "first 2")
    until(lambda: not Path(f"/proc/{pid}").exists(), f"the end of the stopped process\n{project.logs()}")
    until(lambda: ask(port, "/readyz") == 200, f"that the other is ready\n{project.logs()}")
    project.dispatch("hello", 3)
    assert handled(project, "first 3") != pid


SEVERAL = {
    "dramatiq": ("--processes", "2", "--threads", "2"),
    "celery": ("--pool", "prefork", "--concurrency", "2"),
}


@pytest.mark.valkey
@pytest.mark.rabbitmq
@pytest.mark.acceptance
@pytest.mark.parametrize("engine", ["dramatiq", "celery"])
def test_one_of_several_processes_on_rabbitmq_that_is_stopped_is_found_and_all_start_again(
    project: Project, engine: str, amqp_url: str
) -> None:
    project.write(
        events=module(engine, url=amqp_url, queue=f"probed-{uuid.uuid4()}"), bill=function("bill", "order")
    )
    port = free_port()
    command = ("worker", "app.bill", "--probe", f"127.0.0.1:{port}", "--silent-after", "2")
    project.start("fastapi_events", *command, "--", *SEVERAL[engine], TMPDIR=str(project.folder))

    def reporting() -> list[int]:
        """The processes that consume: each of Dramatiq's, and the one of Celery's that has a pool."""
        try:
            with request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=10) as answer:
                said = answer.read()
        except error.HTTPError as not_ready:
            with not_ready:
                said = not_ready.read()
        return [each["pid"] for each in json.loads(said)["workers"]]

    until(lambda: ask(port, "/readyz") == 200, f"that it is ready\n{project.logs()}")
    consuming = 2 if engine == "dramatiq" else 1
    until(lambda: len(reporting()) == consuming, f"that all of them are\n{project.logs()}")
    before = reporting()

    # When: one of them is stopped; nothing waits, and nothing is dispatched
    os.kill(before[-1], signal.SIGSTOP)

    # Then: it is found, and all are others, which handle what comes
    until(lambda: ask(port, "/readyz") == 503, "that it is not ready")
    until(
        lambda: reporting() and not {*before} & {*reporting()} and ask(port, "/readyz") == 200,
        f"that others are ready\n{project.logs()}",
    )
    project.dispatch("order", {"number": 1})
    until(lambda: project.redis.scard("bill") == 1, f"that an event is handled\n{project.logs()}")

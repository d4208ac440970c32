"""What `docker-compose.yml` starts has time to stop, and the page on workers says so."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml

from fastapi_events.cli import parser

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
PAGE = (ROOT / "docs" / "workers.md").read_text()


def service(name: str) -> str:
    """The part of the file that describes a service."""
    found = re.search(rf"^  {name}:\n((?:    .*\n|\n)+)", COMPOSE, re.MULTILINE)
    assert found is not None
    return found[1]


def grace(name: str) -> int:
    """Seconds between Docker's SIGTERM and its SIGKILL."""
    found = re.search(r"stop_grace_period: (\d+)s$", service(name), re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_dramatiq_gives_up_before_docker_kills() -> None:
    found = re.search(r"--worker-shutdown-timeout (\d+)", service("dramatiq-worker"))
    assert found is not None, "Dramatiq's own ten minutes are longer than Docker waits"

    assert int(found[1]) / 1_000 < grace("dramatiq-worker")


@pytest.mark.parametrize("name", ["dramatiq-worker", "celery-worker"])
def test_a_worker_has_longer_than_dockers_own_ten_seconds(name: str) -> None:
    assert grace(name) > 10


def test_the_page_on_workers_says_what_the_file_says() -> None:
    timeout = re.search(r"`--worker-shutdown-timeout (\d+)` under a `stop_grace_period` of (\d+) s", PAGE)
    assert timeout is not None

    assert f"--worker-shutdown-timeout {timeout[1]}" in service("dramatiq-worker")
    assert int(timeout[2]) == grace("dramatiq-worker")


SERVICES = yaml.safe_load(COMPOSE)["services"]


@pytest.mark.parametrize("name", [name for name, each in SERVICES.items() if "command" in each])
def test_a_command_of_ours_can_be_typed(name: str) -> None:
    command = shlex.split(SERVICES[name]["command"])

    if command[0] == "fastapi-events":
        parser().parse_args(command[1:])


def test_the_tables_are_there_before_anybody_needs_them() -> None:
    environment = SERVICES["web"]["environment"]
    host = re.search(r"@(\w+)/", environment["FASTAPI_EVENTS_STORE_URL"])

    assert host is not None
    assert host[1] in SERVICES
    assert SERVICES["setup"]["depends_on"] == {host[1]: {"condition": "service_healthy"}}
    for name in ("web", "relay", "console", "dramatiq-worker", "celery-worker"):
        assert SERVICES[name]["depends_on"]["setup"]["condition"] == "service_completed_successfully"
        assert "FASTAPI_EVENTS_STORE_URL" in SERVICES[name]["environment"]

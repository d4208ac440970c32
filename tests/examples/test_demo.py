"""The demo does what it says, and its exit code is honest."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]


def demo(**env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.demo", "--once"],
        cwd=ROOT, capture_output=True, text=True, timeout=110, env={**os.environ, **env},
    )  # fmt: skip


def test_once_shows_that_everything_happened() -> None:
    run = demo()
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Everything happened." in run.stdout
    assert "cat-dreamt-of-a-mouse" in run.stdout
    assert "Now > Events > Recent events > cat-requested-a-fish > cat-was-fed" in run.stdout


@pytest.mark.rabbitmq
def test_once_does_so_on_rabbitmq(amqp_url: str) -> None:
    queue = f"demo-{uuid.uuid4().hex[:8]}"
    run = demo(FASTAPI_EVENTS_BROKER_URL=amqp_url, FASTAPI_EVENTS_QUEUE=queue)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Everything happened." in run.stdout

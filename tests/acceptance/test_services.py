"""Several services: the files of the documentation, as they stand, in three processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastapi_events.embedded.probe import free_port
from tests.acceptance.test_dramatiq_workers import answers, post
from tests.examples.run_page import blocks
from tests.processes import Project, until

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey]


def test_a_web_process_reaches_two_services(project: Project) -> None:
    page = Path(__file__).parents[2] / "docs" / "services.md"
    for title, code, _ in blocks(page):
        file = project.folder / title
        file.parent.mkdir(exist_ok=True)
        file.write_text(code.replace("redis://localhost:6379/0", project.url))
        if title == "kitchen/handlers.py":  # the other service looks the same
            billing = project.folder / "billing"
            billing.mkdir()
            (billing / "handlers.py").write_text(
                file.read_text().replace("kitchen", "billing").replace("cooking", "billing")
            )
    port = free_port()
    project.start("uvicorn", "shop.web:app", "--port", str(port))
    project.start("dramatiq", "kitchen.handlers", "--processes", "1")
    until(lambda: answers(f"http://127.0.0.1:{port}/docs"), "the web process's first answer")

    # One of the services is down, which keeps the other from nothing;
    assert post(f"http://127.0.0.1:{port}/orders/7") == 202
    until(lambda: "cooking order 7" in project.logs(), "the kitchen's print")
    assert "billing order 7" not in project.logs()

    # and its events wait until it is back.
    project.start("dramatiq", "billing.handlers", "--processes", "1")
    until(lambda: "billing order 7" in project.logs(), "the billing's print")

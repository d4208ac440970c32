"""Chromium without a window, and a console that it looks at."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from tests.processes import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def chromium_path() -> str:
    """Where Chromium is; at home there may be none, in CI there has to be one."""
    if CHROMIUM is None and os.environ.get("CI") == "true":
        pytest.fail("There is no chromium, and in CI there has to be one")
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    return CHROMIUM


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; `no-sandbox` since tests may run as root, and open nothing but pages of ours."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium_path(), args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        yield browser
        browser.close()


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An application behind a server in a thread; its address."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=1)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, "the server has started")
    [listening] = server.servers[0].sockets
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


def words(page: Page) -> str:
    """What stands on the page."""
    return " ".join(page.locator("body").inner_text().split())

"""The tutorial, step by step, as a reader types it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.examples.terminals import Terminals, steps
from tests.fork_server import ForkServer
from tests.ports import free_port
from tests.processes import until

PAGE = Path(__file__).parents[2] / "docs" / "tutorial.md"


@pytest.mark.timeout(900)  # it starts some twenty processes, one after the other, and waits for each
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
@pytest.mark.valkey
def test_each_step_shows_what_the_tutorial_says(tmp_path: Path, fork_server: ForkServer) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    web, broker = str(free_port()), str(free_port())
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "200",
    }
    replaced = {
        "uvicorn shop.web:app": f"uvicorn shop.web:app --port {web}",
        ":8000": f":{web}",
        "6379": broker,
    }
    with Terminals(folder, env, replaced, waiting="terminal 2", fork_server=fork_server) as terminals:
        for step in steps(PAGE):
            terminals.do(step)
        until(lambda: "charged for order 7" in terminals.shown(), "the charge for order 7")
        assert terminals.shown().count("charged for order 7") == 1

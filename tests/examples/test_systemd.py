"""The unit that the page on health shows is one that systemd takes."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from fastapi_events.cli import parser

PAGE = (Path(__file__).parents[2] / "docs" / "health.md").read_text()
UNIT = re.search(r'```ini title="worker.service"\n(.*?)```', PAGE, re.DOTALL)


def unit() -> str:
    assert UNIT is not None
    return UNIT[1]


def test_its_command_can_be_typed_and_has_time_to_end() -> None:
    read = configparser.ConfigParser()
    read.optionxform = str  # type: ignore[assignment,method-assign]
    read.read_string(unit())
    service = read["Service"]

    program, *arguments = shlex.split(service["ExecStart"])
    assert program.endswith("/bin/fastapi-events")
    typed = parser().parse_args(arguments)
    assert typed.grace < float(service["TimeoutStopSec"])
    assert service["Restart"] == "always"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed here")
def test_systemd_takes_it(tmp_path: Path) -> None:
    there = unit().replace("/srv/shop/.venv/bin/fastapi-events", "/bin/sh").replace("/srv/shop", "/")
    file = tmp_path / "worker.service"
    file.write_text(there)

    found = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, timeout=60
    )

    assert found.returncode == 0, found.stderr
    assert "worker.service" not in found.stderr, found.stderr
    file.write_text(there.replace("Restart=always", "Restart=forever"))
    refused = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(file)], capture_output=True, text=True, timeout=60
    )
    assert "forever" in refused.stderr

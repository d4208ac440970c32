"""Whether a Redis server would keep what it has confirmed."""

from __future__ import annotations

from typing import Any

import pytest

from fastapi_events.handlers.brokers.redis import diagnose_server

WELL = {
    "appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory": "0",
    "maxmemory-policy": "noeviction",
}  # fmt: skip


class Server:
    """Answers CONFIG GET."""

    def __init__(self, **settings: str) -> None:
        self.settings = {**WELL, **{name.replace("_", "-"): value for name, value in settings.items()}}

    def ping(self) -> bool:
        return True

    def config_get(self, name: str) -> dict[str, str]:
        return {key: value for key, value in self.settings.items() if key == name}


def said(server: Any, *, confirms_handled: bool = False) -> dict[str, str]:
    findings = diagnose_server(server, confirms_handled=confirms_handled)
    return {each.subject: each.severity for each in findings}


def test_one_that_appends_and_throws_nothing_away_is_well() -> None:
    found = said(Server())
    assert (found["persistence"], found["memory"]) == ("ok", "ok")


@pytest.mark.parametrize("save", ["", "3600 1"])
def test_without_a_log_it_is_a_danger_unless_events_come_again_from_the_outbox(save: str) -> None:
    server = Server(appendonly="no", save=save)

    assert said(server)["persistence"] == "danger"
    assert said(server, confirms_handled=True)["persistence"] == "ok"


def test_a_log_that_is_written_when_the_system_likes_gets_advice() -> None:
    assert said(Server(appendfsync="no"))["persistence"] == "advice"


@pytest.mark.parametrize(
    ("policy", "limit", "severity"),
    [("allkeys-lru", "100", "danger"), ("allkeys-lru", "0", "advice"), ("volatile-lru", "100", "advice")],
)
def test_one_that_throws_away_is_told(policy: str, limit: str, severity: str) -> None:
    assert said(Server(maxmemory_policy=policy, maxmemory=limit))["memory"] == severity


def test_of_one_that_refuses_to_tell_nothing_is_claimed() -> None:
    server = Server()
    server.settings = {}

    found = said(server)

    assert found["settings"] == "advice"
    assert "persistence" not in found

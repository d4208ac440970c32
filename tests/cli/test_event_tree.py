"""What became of an event, as a tree."""

from __future__ import annotations

import json
from typing import Any

from fastapi_events.cli.event_tree import data_of, line_of, lines_of, record_data, seconds, state_of
from fastapi_events.lives import causes_of, life_of
from fastapi_events.storage.base import moment
from fastapi_events.storage.journal import Record
from fastapi_events.storage.memory import MemoryJournal
from fastapi_events.whereabouts import Place


def record(what: Any, at: float, event_id: str = "a", **more: Any) -> Record:
    values = {"event_name": "order", "correlation": "a", "process": "web:1", **more}
    return Record(event_id=event_id, what=what, at=at, **values)


def when(at: float) -> str:
    return moment(at).astimezone().isoformat(sep=" ", timespec="seconds")


def a_journal() -> MemoryJournal:
    journal = MemoryJournal()
    cook = {"subscription": "cook", "queue": "kitchen", "process": "worker:2"}
    journal.write(
        [
            record("dispatched", 1_000.0, payload='{"cat":1}'),
            record("stored", 1_000.1, handler="h", error="refused"),
            record("fanned_out", 1_002.0, handler="h", to=("cook", "mail")),
            record("started", 1_003.0, **cook),
            record("failed", 1_003.5, duration=0.5, error="E: no fish", **cook),
            record("retried", 1_003.5, attempt=1, wait=2.5, error="E: no fish", **cook),
            record("started", 1_006.0, **cook),
            record("failed", 1_006.5, duration=0.5, error="E: no fish", **cook),
            record("dead", 1_006.5, attempt=2, error="E: no fish", **cook),
            record("dispatched", 1_004.0, "b", event_name="cooked", cause="a", process="worker:2"),
        ]
    )
    return journal


def test_the_tree_shows_request_event_subscriptions_attempts_and_what_was_caused() -> None:
    journal = a_journal()
    [event] = journal.find("a")

    lines = list(lines_of(life_of(journal, event), [], [Place("queue", "in a queue, for mail")]))

    assert lines == [
        f"order a  {when(1_000)}  dead",
        "├─ dispatched by web:1, fanned out after 2.0 s",
        "├─ stored by h: refused",
        "├─ cook (kitchen)  dead: E: no fish",
        f"│  ├─ attempt 1  {when(1_003)}  worker:2  failed after 500 ms: E: no fish; the next in 2.5 s",
        f"│  └─ attempt 2  {when(1_006)}  worker:2  failed after 500 ms: E: no fish",
        "├─ mail  waiting",
        f"└─ cooked b  {when(1_004)}  dispatched",
        "   └─ dispatched by worker:2",
        '\npayload: {"cat":1}',
        "\nNow in a queue, for mail",
    ]


def test_what_led_to_the_event_stands_above_it() -> None:
    journal = a_journal()
    journal.write([record("dispatched", 1_000.0, "c", correlation="request-7")])
    [caused], [own] = journal.find("b"), journal.find("c")

    assert next(iter(lines_of(life_of(journal, caused), causes_of(journal, caused), []))) == (
        "caused by order a  dead"
    )
    assert next(iter(lines_of(life_of(journal, own), [], []))) == "request request-7"


def test_as_data_it_can_be_read_by_programs() -> None:
    journal = a_journal()
    [event] = journal.find("a")

    data = json.loads(json.dumps(data_of(life_of(journal, event)), default=str))

    assert (data["id"], data["state"], data["payload"]) == ("a", "dead", '{"cat":1}')
    assert [each["subscription"] for each in data["subscriptions"]] == ["cook", "mail"]
    assert [each["error"] for each in data["subscriptions"][0]["attempts"]] == ["E: no fish"] * 2
    assert [each["id"] for each in data["children"]] == ["b"]
    assert data["records"][0]["what"] == "dispatched"


def test_a_state_is_a_word_or_two() -> None:
    assert state_of(frozenset({"dispatched", "published"})) == "published"
    assert state_of(frozenset({"fanned_out", "dispatched"})) == "fanned out"
    assert state_of(frozenset({"failed", "retried", "succeeded"})) == "retried, succeeded"
    assert state_of(frozenset({"succeeded", "dead", "failed"})) == "dead"
    assert state_of(frozenset({"succeeded", "dead", "replayed"})) == "dead, replayed"
    assert state_of(frozenset()) == ""


def test_a_record_is_one_line_that_steers_no_terminal() -> None:
    one = record("failed", 1_003.5, event_name="\x1b[2J", subscription="cook", duration=0.5, error="a\nb")

    assert line_of(one) == f"{when(1_003.5)}  failed      \\x1b[2J  a  cook  after 500 ms  a\\nb"
    assert line_of(record("dispatched", 1.0, wait=90.0)).endswith("  in 90.0 s")
    assert record_data(record("dispatched", 1.0))["at"] == moment(1.0)
    assert "error" not in record_data(record("dispatched", 1.0))


def test_lengths_of_time_are_short() -> None:
    assert [seconds(each) for each in (0.0123, 1.25, 119.0, 3_600.0)] == [
        "12 ms",
        "1.2 s",
        "119.0 s",
        "60 min",
    ]

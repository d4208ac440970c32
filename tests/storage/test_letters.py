"""Which dead letters are meant, which have one cause, and what one says once it is edited."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fastapi_events.errors import ConfigurationError, InvalidSetting
from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.letters import LetterFilter, edited, group_id, groups_of, payload_of
from tests.cli.conftest import letter as a_letter

TRACEBACK = """Traceback (most recent call last):
  File "/opt/shop/app/handlers.py", line {line}, in cook
    order(db)
  File "/opt/shop/app/db.py", line 7, in order
    session.commit()
  File "/usr/lib/python3.12/site-packages/sqlalchemy/orm.py", line 9, in commit
    raise
  File "/usr/lib/python3.12/contextlib.py", line 9, in __exit__
    raise
sqlalchemy.exc.OperationalError: gone
"""


def letter(number: int = 1, payload: Any = None, **changes: Any) -> DeadLetter:
    envelope = {"specversion": "1.0", "id": f"event-{number}", "type": "order", "data": payload}
    return a_letter(number, argument=json.dumps(envelope), **changes)


def test_letters_of_one_cause_are_a_group() -> None:
    first = letter(1, reason="sqlalchemy.exc.OperationalError: gone", traceback=TRACEBACK.format(line=3))
    later = letter(2, reason="sqlalchemy.exc.OperationalError: 7", traceback=TRACEBACK.format(line=99))
    other = letter(
        3, reason="sqlalchemy.exc.OperationalError: 7", traceback=TRACEBACK.replace("in order", "in x")
    )
    elsewhere = letter(4, reason="ValueError: no", traceback="", subscription="mail")

    one, *rest = groups_of([first, later, other, elsewhere])

    assert (one.count, one.error, one.place) == (2, "sqlalchemy.exc.OperationalError", "app/db.py:order")
    assert (one.first_at, one.last_at) == (first.last_at, later.last_at)
    assert (one.sample, one.reason) == ("letter-2", "sqlalchemy.exc.OperationalError: 7")
    assert sorted((each.subscription, each.count, each.place) for each in rest) == [
        ("mail", 1, ""), ("shop.cook", 1, "app/db.py:x"),
    ]  # fmt: skip
    assert group_id(first) == group_id(later) == one.id
    assert groups_of([]) == []


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (LetterFilter(), True),
        (LetterFilter(subscription="shop.cook", event_name="cat-requested-a-fish"), True),
        (LetterFilter(subscription="shop"), False),
        (LetterFilter(event_name="cat"), False),
        (LetterFilter(error="ValueError"), True),
        (LetterFilter(error="KeyError"), False),
        (LetterFilter(group=group_id(letter())[:4]), True),
        (LetterFilter(group="nothing"), False),
        (LetterFilter(before=datetime(2026, 1, 1, 1, tzinfo=UTC)), True),
        (LetterFilter(before=datetime(2026, 1, 1, 0, 1, tzinfo=UTC)), False),
        (LetterFilter(since=datetime(2026, 1, 1, 0, 1, tzinfo=UTC)), True),
        (LetterFilter(since=datetime(2026, 1, 1, 0, 2, tzinfo=UTC)), False),
        (LetterFilter(fields={"card.holder": "Tom", "items.1": 8}), True),
        (LetterFilter(fields={"items.0": "7", "paid": "true", "nothing": "null"}), True),
        (LetterFilter(fields={"card.holder": "Tim"}), False),
        (LetterFilter(fields={"paid": 1}), False),
        (LetterFilter(fields={"items.2": 8}), False),
        (LetterFilter(fields={"card.holder.first": "T"}), False),
    ],
)
def test_a_filter_means_letters_of_which_all_is_true(wanted: LetterFilter, matches: bool) -> None:
    payload = {"card": {"holder": "Tom"}, "items": [7, 8], "paid": True, "nothing": None}

    assert wanted.matches(letter(payload=payload)) is matches


def test_a_filter_says_what_it_asks_for_without_values_of_payloads() -> None:
    assert str(LetterFilter()) == "all dead letters"
    assert (
        str(LetterFilter(error="KeyError", fields={"card": "4242", "cat": 1}))
        == "error=KeyError, fields=card and cat"
    )


def test_times_of_a_filter_need_a_time_zone() -> None:
    with pytest.raises(ValueError, match="before must have a time zone"):
        LetterFilter(before=datetime(2026, 1, 1))
    assert LetterFilter(since=datetime.now(UTC) - timedelta(1)).is_empty is False


@pytest.mark.parametrize("name", ["subscription", "event_name", "error", "group", "ordering_key"])
def test_an_empty_text_of_a_filter_is_neither_none_nor_all(name: str) -> None:
    with pytest.raises(
        InvalidSetting, match=f"^{name}='': expected a text that is not empty, or None for any"
    ):
        LetterFilter(**{name: ""})


def test_an_edited_letter_says_something_else_and_is_the_same_otherwise() -> None:
    before = letter(payload={"cat": 1})

    after = edited(before, {"cat": 2})

    assert payload_of(after) == {"cat": 2}
    assert (after.id, after.event_id) == (before.id, before.event_id)
    assert json.loads(after.argument)["type"] == "order"
    in_list = edited(a_letter(argument='[{"id": "1", "data": 1}]'), 2)
    assert in_list.argument == '[{"id":"1","data":2}]'


def test_what_was_masked_for_the_editor_keeps_its_value() -> None:
    argument = json.dumps(
        {"id": "1", "sensitive": "cards/*/number", "data": {"cards": [{"number": "4"}], "x": 1}}
    )

    after = edited(a_letter(argument=argument), {"cards": [{"number": "***"}], "x": "***"})
    changed = edited(a_letter(argument=argument), {"cards": [{"number": "5"}], "x": 1})

    assert payload_of(after) == {"cards": [{"number": "4"}], "x": "***"}
    assert payload_of(changed) == {"cards": [{"number": "5"}], "x": 1}


def test_what_is_encrypted_cannot_be_edited() -> None:
    argument = json.dumps({"id": "1", "sensitive": "pin", "encrypted": "pin", "data": {"pin": "gAAA"}})

    assert payload_of(edited(a_letter(argument=argument), {"pin": "***"})) == {"pin": "gAAA"}
    with pytest.raises(ConfigurationError, match=r"pin is encrypted: leave \*\*\* there"):
        edited(a_letter(argument=argument), {"pin": "1234"})


@pytest.mark.parametrize("argument", ["no JSON", "[]", "[{}, {}]", "7"])
def test_what_is_not_about_one_event_cannot_be_edited(argument: str) -> None:
    with pytest.raises(ConfigurationError, match="is not about one event that can be read"):
        edited(a_letter(argument=argument), {})
    assert payload_of(a_letter(argument=argument)) is None

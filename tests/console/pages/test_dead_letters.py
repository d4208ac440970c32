"""Dead letters."""

from __future__ import annotations

from collections.abc import Callable

from fastapi_events.storage.letters import group_id
from tests.console.conftest import Page, Shop

Look = Callable[[str], Page]


def test_letters_of_one_cause_are_a_group(shop: Shop, look: Look) -> None:
    first = shop.letter(1)
    shop.letter(2)
    shop.letter(3, reason="TimeoutError: gateway")

    page = look("/dead")

    assert page.rows()[1].split()[:2] == [group_id(first), "2"]
    assert len(page.rows()) == 3
    assert f"/dead/letters?handler=dramatiq%3Aevents&group={group_id(first)}" in page.links


def test_filters_leave_what_they_ask_for(shop: Shop, look: Look) -> None:
    shop.letter(1)
    shop.letter(3, reason="TimeoutError: gateway")

    assert len(look("/dead?error=Timeout").rows()) == 2
    assert len(look("/dead?field=order_id&value=7").rows()) == 3
    page = look("/dead?subscription=shop.nobody&since=1h")
    assert "No letter is all that the filters ask for" in page.text
    assert "fastapi-events dead groups APP --subscription shop.nobody --since 1h" in page.text


def test_a_group_shows_a_sample_and_its_letters(shop: Shop, look: Look) -> None:
    letter = shop.letter(1)
    shop.letter(2, reason="TimeoutError: gateway")

    page = look(f"/dead/letters?group={group_id(letter)}")

    assert 'File "/srv/shop/kitchen.py", line 3, in cook' in page.text
    assert len(page.rows()) == 2
    assert "/letter/letter-1" in page.links
    assert "No such letters" in look("/dead/letters?group=nothing").text


def test_one_letter_is_shown_whole_and_redacted(shop: Shop, look: Look) -> None:
    shop.letter(1)

    page = look("/letter/letter-1")

    assert "order_id" in page.text
    assert "4111" not in page.source
    assert '"card": "***"' in page.text
    assert "/event/event-1" in page.links
    gone = look("/letter/letter-9")
    assert (gone.status, "It has been replayed or discarded" in gone.text) == (404, True)


def test_what_letters_say_is_never_markup(shop: Shop, look: Look) -> None:
    evil = "<script>alert(1)</script>"
    shop.letter(1, reason=f"E: {evil}", traceback=evil, event_name=evil, subscription=evil)

    for path in ("/dead", "/dead/letters", "/letter/letter-1"):
        page = look(path)
        assert evil not in page.source
        assert evil in page.text


def test_a_store_that_fails_says_so_in_its_place(shop: Shop, look: Look) -> None:
    def fail(**_: object) -> None:
        raise ConnectionError("away")

    shop.store.dead_letters.groups = fail  # type: ignore[method-assign, assignment]

    page = look("/dead")

    assert page.status == 200
    assert "letters of celery:mail cannot be asked: ConnectionError: away. The rest of this page" in page.text


def test_letters_that_the_engine_keeps_cannot_be_listed(look: Look, look_without_stores: Look) -> None:
    assert "The engine keeps them" in look_without_stores("/dead").text
    assert "No dead letters" in look("/dead").text


def test_long_groups_go_page_by_page(shop: Shop, look: Look) -> None:
    group = group_id(shop.letter(1))
    for number in range(2, 131):
        shop.letter(number)

    page = look(f"/dead/letters?group={group}")
    [following] = [each for each in page.links if "after=" in each]

    assert len(page.rows()) == 101
    assert len(look(following).rows()) == 31


def test_a_filter_that_is_none_is_refused_and_lists_nothing(shop: Shop, look: Look) -> None:
    shop.letter(1)

    for wrong, status in (("since=2h", 400), ("value=7", 400), ("handler=nobody", 404)):
        for path in ("/dead", "/dead/letters"):
            page = look(f"{path}?{wrong}")
            assert page.status == status
            assert "letter-1" not in page.source


def test_commands_are_quoted_for_a_shell(shop: Shop, look: Look) -> None:
    shop.letter(1, id="letter;id", event_id="event 1", reason="E: $(id) a")

    assert "dead list APP --error '$(id) a'" in look("/dead/letters?error=$(id) a").text
    assert "dead show APP 'letter;id'" in look("/letter/letter;id").text
    assert "event show APP 'event 1'" in look("/event/event 1").text


def test_a_store_that_is_away_is_not_taken_for_one_that_has_no_such_letter(shop: Shop, look: Look) -> None:
    def away(*_: object, **__: object) -> None:
        raise ConnectionError("away")

    shop.store.dead_letters.get = away  # type: ignore[method-assign, assignment]
    shop.store.dead_letters.list = away  # type: ignore[method-assign, assignment]
    shop.store.dead_letters.find = away  # type: ignore[method-assign, assignment]

    for path, status in (("letter/letter-1", 503), ("dead/letters", 200), ("event/event-1", 503)):
        page = look(f"/{path}")
        assert page.status == status
        assert "cannot be asked: ConnectionError: away" in page.text
        assert "replayed or discarded" not in page.text
        assert "It is in no journal" not in page.text


def test_without_a_store_the_engine_keeps_letters(look_without_stores: Look) -> None:
    for path in ("dead", "dead/letters", "letter/letter-1"):
        page = look_without_stores(f"/{path}")
        assert "The engine keeps" in page.text
        assert "replayed or discarded" not in page.text

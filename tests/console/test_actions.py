"""What is pressed is done once, by those who may, and it is kept who did it."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from fastapi_events.console import Visitor, console
from fastapi_events.console.permissions import PERMISSIONS
from fastapi_events.storage.letters import group_id
from fastapi_events.storage.memory import MemoryDeadLetters
from fastapi_events.storage.outbox import Entry
from tests.console.conftest import Shop
from tests.processes import until

ROOT = "/ops/events"


def form_of(page: str, verb: str, **given: str) -> dict[str, str]:
    """The first form of a page that does something, filled in."""
    found = re.search(
        rf'<form class="action[^"]*" method="post" action="{ROOT}/actions/{verb}">(.*?)</form>', page, re.S
    )
    assert found is not None, f"no form to {verb} on {page}"
    fields = dict(re.findall(r'name="([\w-]+)" value="([^"]*)"', found[1]))
    return {name: html.unescape(value) for name, value in fields.items()} | given


class Browser:
    """Presses what stands on pages."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def look(self, path: str) -> str:
        answer = self.client.get(f"{ROOT}/{path}")
        assert answer.status_code == 200, path
        return answer.text

    def press(self, path: str, verb: str, **given: str) -> httpx.Response:
        return self.send(verb, form_of(self.look(path), verb, **given))

    def send(self, verb: str, form: dict[str, str]) -> httpx.Response:
        return self.client.post(f"{ROOT}/actions/{verb}", data=form, follow_redirects=False)


@pytest.fixture
def open_as(shop: Shop) -> Iterator[Callable[..., Browser]]:
    """A browser of somebody who may do so much."""
    opened: list[TestClient] = []

    def open_browser(*permissions: str, name: str = "alice") -> Browser:
        visitor = Visitor(name, frozenset(permissions))
        web = Starlette(routes=[Mount(ROOT, console(shop.handlers, auth=lambda request: visitor))])
        opened.append(TestClient(web))
        return Browser(opened[-1])

    yield open_browser
    for each in opened:
        each.close()


def noted(shop: Shop) -> list[tuple[str, str]]:
    return [(each.by, each.what) for each in shop.store.journal.actions()]


def test_a_letter_is_replayed_once_however_often_it_is_pressed(shop: Shop, open_as: Any) -> None:
    shop.letter()
    browser = open_as(*PERMISSIONS)
    form = form_of(browser.look("letter/letter-1"), "replay")

    first, second = browser.send("replay", form), browser.send("replay", form)

    assert (first.status_code, first.headers["location"]) == (303, f"{ROOT}/dead")
    assert second.status_code == 303
    assert [each.id for each in shop.events.sent] == ["letter-1"]
    assert shop.store.dead_letters.count() == 0
    assert noted(shop) == [("alice", "replayed")]
    assert "Letter letter-1 was replayed." in browser.look("dead")
    assert "Letter letter-1 was replayed." not in browser.look("dead")


def test_a_letter_is_discarded(shop: Shop, open_as: Any) -> None:
    shop.letter()
    assert open_as("discard").press("letter/letter-1", "discard").status_code == 303
    assert (shop.events.sent, shop.store.dead_letters.count()) == ([], 0)
    assert noted(shop) == [("alice", "discarded")]


@pytest.mark.parametrize("verb", ["replay", "discard", "edit", "pause", "resume", "cancel", "dispatch-again"])
def test_a_reader_sees_no_button_and_gets_403(shop: Shop, open_as: Any, verb: str) -> None:
    shop.letter()
    reader, form = open_as(), {"action_id": "action-1", "handler": "dramatiq:events", "id": "letter-1"}
    page = reader.look("letter/letter-1")
    assert "<form class=" not in page.partition("<main")[2]
    form["token"] = reader.client.cookies["fastapi_events_token"]

    answer = reader.send(verb, form)

    assert answer.status_code == 403
    assert "which alice has not" in html.unescape(answer.text)
    assert (shop.events.sent, shop.store.dead_letters.count(), noted(shop)) == ([], 1, [])


def test_who_may_discard_may_not_replay_whatever_the_form_says(shop: Shop, open_as: Any) -> None:
    shop.letter()
    browser = open_as("discard")
    form = form_of(browser.look("letter/letter-1"), "discard") | {"verb": "discard"}
    assert browser.send("replay", form).status_code == 403
    assert shop.events.sent == []


@pytest.mark.parametrize("token", [None, "", "of-another-site"])
def test_without_the_token_of_the_page_nothing_is_done(shop: Shop, open_as: Any, token: str | None) -> None:
    shop.letter()
    browser = open_as(*PERMISSIONS)
    form = form_of(browser.look("letter/letter-1"), "replay")
    form = (
        {name: value for name, value in form.items() if name != "token"}
        if token is None
        else form | {"token": token}
    )

    assert browser.send("replay", form).status_code == 403

    assert shop.events.sent == []


def test_a_subscription_is_paused_for_a_while_and_resumed(shop: Shop, open_as: Any) -> None:
    browser = open_as("pause")
    page = browser.look("subscriptions")
    form = form_of(page, "pause", **{"for": "10m", "subscription": "shop.cook", "handler": "dramatiq:events"})

    assert browser.send("pause", form).status_code == 303
    [paused] = shop.events.paused()
    assert (paused.subscription, paused.by, (paused.until or 0) - paused.since) == (
        "shop.cook",
        "alice",
        600.0,
    )
    assert "shop.cook is paused for 10m." in browser.look("subscriptions")
    assert browser.press("subscriptions", "resume").status_code == 303
    assert shop.events.paused() == ()
    assert noted(shop) == [("alice", "resumed"), ("alice", "paused")]


@pytest.mark.parametrize("length", ["10", "10y", "soon", "-5m"])
def test_a_length_of_time_that_is_none_is_refused(shop: Shop, open_as: Any, length: str) -> None:
    answer = open_as("pause").press("subscriptions", "pause", **{"for": length})
    assert answer.status_code == 400
    assert "write for example" in answer.text
    assert shop.events.paused() == ()


def test_an_event_that_is_to_be_sent_later_is_cancelled(shop: Shop, open_as: Any) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    text = '{"specversion":"1.0","id":"event-5","type":"order-placed","data":null}'
    shop.store.outbox.add([Entry(id="event-5", destination="dramatiq:events", envelope=text, due=due)])
    browser = open_as("discard")

    assert browser.press("outbox", "cancel").status_code == 303

    assert shop.store.outbox.list() == []
    assert noted(shop) == [("alice", "cancelled")]
    assert "The event was cancelled." in browser.look("outbox")


def test_an_event_is_dispatched_again_as_one_that_the_first_has_caused(shop: Shop, open_as: Any) -> None:
    shop.letter()
    browser = open_as("replay")

    answer = browser.press("letter/letter-1", "dispatch-again")

    assert answer.status_code == 303
    [message] = shop.events.sent
    sealed = json.loads(message.argument)
    sealed = sealed[0] if isinstance(sealed, list) else sealed
    assert (sealed["type"], sealed["data"]) == ("order-placed", {"order_id": 7, "card": "4111"})
    assert (sealed["causationid"], sealed["sensitive"]) == ("event-1", "card")
    assert sealed["id"] != "event-1"
    assert answer.headers["location"] == f"{ROOT}/event/{sealed['id']}"
    assert noted(shop) == [("alice", "dispatched again")]


def test_what_nothing_has_kept_cannot_be_dispatched_again(shop: Shop, open_as: Any) -> None:
    shop.write(shop.record("event-3", handler="dramatiq:events"))
    shop.letter()
    browser = open_as("replay")
    assert "actions/dispatch-again" not in browser.look("event/event-3")
    form = form_of(browser.look("event/event-1"), "dispatch-again", id="event-3")
    answer = browser.send("dispatch-again", form)
    assert answer.status_code == 400
    assert "journal_payloads=True" in answer.text
    assert shop.events.sent == []


def test_a_letter_is_replayed_with_another_payload_where_the_store_allows_it(
    shop: Shop, open_as: Any
) -> None:
    shop.letter()
    browser = open_as(*PERMISSIONS)
    assert "actions/edit" not in browser.look("letter/letter-1")
    shop.events.dead_letters = shop.store.dead_letters = MemoryDeadLetters(edit_letters=True)
    shop.letter()
    page = browser.look("letter/letter-1")
    assert "4111" not in page

    form = form_of(page, "edit", payload='{"order_id": 8, "card": "***"}')
    assert browser.send("edit", form).status_code == 303

    [message] = shop.events.sent
    assert json.loads(message.argument)["data"] == {"order_id": 8, "card": "4111"}
    assert noted(shop) == [("alice", "edited and replayed")]


def test_what_is_no_json_is_not_replayed(shop: Shop, open_as: Any) -> None:
    shop.events.dead_letters = shop.store.dead_letters = MemoryDeadLetters(edit_letters=True)
    shop.letter()
    answer = open_as("edit", "see_payloads").press("letter/letter-1", "edit", payload="{order: 8}")
    assert (answer.status_code, shop.events.sent) == (400, [])


def test_a_group_is_replayed_in_the_background(shop: Shop, open_as: Any) -> None:
    letters = [shop.letter(number) for number in range(1, 8)]
    shop.letter(9, reason="KeyError: 'cat'")
    browser = open_as(*PERMISSIONS)
    path = f"dead/letters?group={group_id(letters[0])}"
    form = form_of(browser.look(path), "replay", rate="1000/s")

    first, second = browser.send("replay", form), browser.send("replay", form)

    assert first.headers["location"] == second.headers["location"] == f"{ROOT}/jobs/{form['action_id']}"
    until(lambda: "7 of 7" in _words(browser.look(f"jobs/{form['action_id']}")), "the job is done")
    until(lambda: ("alice", "replayed") in noted(shop), "it is kept who did it")
    assert [each.id for each in shop.store.dead_letters.list()] == ["letter-9"]
    assert len(shop.events.sent) == 7
    assert "replay" in browser.look("jobs")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rate": "fast"}, "is no rate"),
        ({"max_in_flight": "many"}, "expected a whole number"),
        ({"max_in_flight": "0"}, "max_in_flight"),
    ],
)
def test_a_pace_that_is_none_is_refused(shop: Shop, open_as: Any, given: dict[str, str], said: str) -> None:
    shop.letter()
    answer = open_as("replay").press("dead/letters", "replay", **given)
    assert answer.status_code == 400
    assert said in html.unescape(answer.text)
    assert shop.events.sent == []


@pytest.mark.parametrize(
    "back",
    ["//evil.example/", "///evil.example/", "https://evil.example/", "/elsewhere", "/ops/events/\\evil"],
)
def test_it_goes_back_to_no_page_but_ours(shop: Shop, open_as: Any, back: str) -> None:
    answer = open_as("pause").press("subscriptions", "pause", back=back)
    assert answer.headers["location"] == f"{ROOT}/"


def test_what_is_no_action_or_no_letter_is_not_found(shop: Shop, open_as: Any) -> None:
    shop.letter()
    browser = open_as(*PERMISSIONS)
    form = form_of(browser.look("letter/letter-1"), "replay")
    assert browser.send("explode", form).status_code == 404
    assert browser.send("replay", form | {"id": "letter-7"}).status_code == 404
    assert browser.client.post(f"{ROOT}/actions/replay", json=form).status_code == 415
    assert browser.client.get(f"{ROOT}/actions/replay").status_code == 405


def test_a_filter_that_is_none_discards_nothing(shop: Shop, open_as: Any) -> None:
    shop.letter()
    browser = open_as(*PERMISSIONS)
    assert "all" not in form_of(browser.look("dead/letters?error=ValueError"), "discard")
    form = form_of(browser.look("dead/letters"), "discard")
    assert form["all"] == "yes"
    for wrong in ({"since": "2h"}, {"value": "7"}):
        assert browser.send("discard", form | wrong).status_code == 400
    form.pop("all")
    assert browser.send("discard", form).status_code == 400
    assert shop.store.dead_letters.count() == 1


def test_who_sees_no_payloads_neither_edits_nor_asks_for_them(shop: Shop, open_as: Any) -> None:
    shop.events.dead_letters = shop.store.dead_letters = MemoryDeadLetters(edit_letters=True)
    shop.letter()
    browser = open_as("edit", "replay")
    page = browser.look("letter/letter-1")
    assert "actions/edit" not in page
    assert "order_id" not in page
    form = form_of(page, "replay", payload="{}")

    assert browser.send("edit", form).status_code == 403
    form = form_of(browser.look("dead/letters"), "replay", field="order_id", value="7")
    assert browser.send("replay", form).status_code == 403
    assert browser.client.get(f"{ROOT}/dead?field=order_id&value=7").status_code == 403
    assert "Payload field" not in browser.look("dead")
    assert shop.events.sent == []


def test_many_are_replayed_at_the_pace_that_the_command_names(shop: Shop, open_as: Any) -> None:
    shop.letter()
    page = open_as(*PERMISSIONS).look("dead/letters")
    form = form_of(page, "replay")
    assert (form["rate"], form["max_in_flight"]) == ("200/s", "50")
    assert "dead replay APP --all --rate 200/s --max-in-flight 50" in page


def test_to_discard_takes_a_second_press_that_says_how_many(shop: Shop, open_as: Any) -> None:
    for number in (1, 2, 3):
        shop.letter(number)
    browser = open_as("discard")
    assert re.search(
        r"<summary>Discard all of dramatiq:events…</summary><button[^>]*>Discard 3 letters for ever<",
        browser.look("dead/letters"),
    )
    assert re.search(
        r"<summary>Discard…</summary><button[^>]*>Discard this letter for ever<",
        browser.look("letter/letter-1"),
    )


def _words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", page).split())

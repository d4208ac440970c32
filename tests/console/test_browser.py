"""What an operator does in a browser, with workers of both engines behind it."""

from __future__ import annotations

import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext

from fastapi_events.storage.dead_letters import DeadLetter
from fastapi_events.storage.letters import group_id
from fastapi_events.storage.redis import RedisStore
from tests.console.browser import chromium, words
from tests.fork_server import ForkedProcess
from tests.ports import free_port
from tests.processes import PATIENCE_SECONDS, Project, until

pytestmark = [pytest.mark.acceptance, pytest.mark.valkey, pytest.mark.timeout(300)]

SECRET = "4111222233334444"
CAUSES = {"TimeoutError": 6_700, "KeyError": 3_100, "ValueError": 200}
DRAMATIQ, CELERY = "dramatiq:browser", "celery:browser-celery"

BOTH = """
from typing import Annotated

import celery
import dramatiq
import redis
from pydantic import BaseModel
from starlette.requests import Request

from fastapi_events.console import Visitor
from fastapi_events.handlers.celery import CeleryHandler
from fastapi_events.handlers.dramatiq import DramatiqHandler
from fastapi_events.handlers.dramatiq.redis_broker import SafeRedisBroker
from fastapi_events.registry.payload_schema import registry
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.redis import RedisStore
from fastapi_events.typing import Event, Sensitive

URL = "redis://localhost:6379/0"
told = redis.Redis.from_url(URL)
broker = SafeRedisBroker(url=URL)
dramatiq.set_broker(broker)
app = celery.Celery("app", broker=URL)
store = RedisStore(URL)
ducks = DramatiqHandler(broker, queue="browser", store=store, relay=False)
celeries = CeleryHandler(app, queue="browser-celery", store=store, relay=False)


@registry.register(event_name="card-declined")
class Card(BaseModel):
    card: Annotated[str, Sensitive]


@ducks.register(event_name="order-placed", name="app.cook")
def cook(event: Event) -> None:
    told.rpush("cooked", event.id)


@ducks.register(event_name="card-declined", name="app.charge", retry=RetryPolicy(max_retries=0))
def charge(event: Event) -> None:
    told.rpush("charged", event.payload["card"])
    if told.get("mended") is None:
        raise ValueError(f"card {event.payload['card']} refused")


@celeries.register(event_name="card-declined", name="app.note")
def note(event: Event) -> None:
    told.rpush("noted", event.id)


def who(request: Request) -> Visitor | None:
    name = request.headers.get("x-visitor")
    everything = frozenset(("replay", "discard", "pause", "see_payloads"))
    return None if name is None else Visitor(name, everything if name == "alice" else frozenset())
"""


@pytest.fixture
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def letter(number: int, error: str) -> DeadLetter:
    now = datetime.now(UTC)
    return DeadLetter(
        id=f"letter-{number}", handler=DRAMATIQ, subscription="app.cook", queue="browser",
        event_id=f"order-{number}", event_name="order-placed", attempts=6, first_at=now, last_at=now,
        argument=(
            f'{{"specversion":"1.0","id":"order-{number}","source":"shop","type":"order-placed",'
            f'"data":{{"order":{number}}}}}'
        ),
        reason=f"{error}: order {number}",
        traceback=f'Traceback\n  File "/srv/shop/kitchen.py", line 3, in cook\n{error}: order {number}\n',
    )  # fmt: skip


def serve(project: Project, url: str) -> ForkedProcess:
    """The console as a process of its own."""
    port = url.rpartition(":")[2]
    process = project.start("fastapi_events", "console", "app.both", "--port", port, "--auth", "app.both:who")

    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return False
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code == 403  # nobody has said who asks
        except OSError:
            return False

    until(answers, "the console answers")
    return process


def test_an_operator_mends_what_has_failed(project: Project, browser: Browser) -> None:
    # Given workers of both engines, a console, and 10,000 letters of three errors
    project.write(both=BOTH)
    project.start("dramatiq", "app.both", "--processes", "1", "--threads", "8")
    project.start("celery", "-A", "app.both", "worker", "--pool", "solo", "-Q", "browser-celery")
    url = f"http://127.0.0.1:{free_port()}"
    first = serve(project, url)
    store = RedisStore(project.url)
    of: dict[str, DeadLetter] = {}
    errors = (error for error, count in CAUSES.items() for _ in range(count))
    for number, error in enumerate(errors, start=1):
        of[error] = letter(number, error)
        store.dead_letters.add(of[error])
    alice = browser.new_context(extra_http_headers={"x-visitor": "alice"})
    bob = browser.new_context(extra_http_headers={"x-visitor": "bob"})

    _groups_are_counted(alice, url)
    job = _one_is_replayed_while_the_tab_is_closed(alice, url, store, of)
    # The console is killed in the middle of it, and another one started, which people use meanwhile
    project.kill_group(first, signal.SIGKILL)
    first.wait(PATIENCE_SECONDS)
    assert store.dead_letters.count() > 9_800
    serve(project, url)
    _a_double_click_sends_nothing_twice(project, alice, url, store)
    _a_reader_and_a_missing_token_get_403(bob, alice, url, store)
    _what_is_sensitive_is_on_no_page_and_a_replay_delivers_it(project, alice, url)
    _the_other_console_goes_on_with_the_job(project, alice, job)
    _the_audit_names_who(alice, url)


def _groups_are_counted(alice: BrowserContext, url: str) -> None:
    page = alice.new_page()
    page.goto(f"{url}/dead")
    rows = [row.inner_text() for row in page.locator("main tbody tr").all()]
    assert [sum(error in row for row in rows) for error in CAUSES] == [1, 1, 1]
    assert [row.replace("\u202f", "").split()[1] for row in rows] == ["6700", "3100", "200"]
    page.close()


def _one_is_replayed_while_the_tab_is_closed(
    alice: BrowserContext, url: str, store: RedisStore, of: dict[str, DeadLetter]
) -> str:
    page = alice.new_page()
    page.goto(f"{url}/dead/letters?group={group_id(of['ValueError'])}&handler={DRAMATIQ}")
    form = page.locator("form[action$='/actions/replay']")
    form.locator("[name=rate]").fill("50/s")
    form.locator("[name=max_in_flight]").fill("")
    form.locator("button").click()
    page.wait_for_url("**/jobs/*")
    job = page.url
    page.close()
    until(lambda: store.dead_letters.count() < 10_000, "the first are replayed")
    return job


def _the_other_console_goes_on_with_the_job(project: Project, alice: BrowserContext, job: str) -> None:
    meant = {f"order-{number}" for number in range(9_801, 10_001)}
    until(lambda: meant <= set(project.redis.lrange("cooked", 0, -1)), "a worker has handled all of them")
    page = alice.new_page()
    until(lambda: "200 of 200" in _words_at(page, job), "the job's page says that it is done")
    page.close()


def _words_at(page: Any, url: str) -> str:
    page.goto(url)
    return words(page)


def _a_double_click_sends_nothing_twice(
    project: Project, alice: BrowserContext, url: str, store: RedisStore
) -> None:
    def cooked(order: str) -> int:
        return list(project.redis.lrange("cooked", 0, -1)).count(order)

    page = alice.new_page()
    page.goto(f"{url}/letter/letter-1")
    page.locator("form[action$='/actions/replay'] button").dblclick(no_wait_after=True)
    until(lambda: cooked("order-1"), "it is handled")  # which a browser follows is its own affair
    until(lambda: store.dead_letters.get("letter-1") is None, "the letter is gone")
    page = alice.new_page()  # the other one is left: to close it may wait for its last navigation
    page.goto(f"{url}/letter/letter-2")
    with page.expect_navigation():  # to close it meanwhile may wait for ever
        page.locator("form[action$='/actions/replay'] button").click()
    until(lambda: cooked("order-2"), "the next one is handled")
    assert cooked("order-1") == 1
    page.close()


def _a_reader_and_a_missing_token_get_403(
    bob: BrowserContext, alice: BrowserContext, url: str, store: RedisStore
) -> None:
    page = bob.new_page()
    page.goto(f"{url}/letter/letter-3")
    assert page.locator("main form").count() == 0
    token = next(each["value"] for each in bob.cookies(url) if each["name"] == "fastapi_events_token")
    form = {"token": token, "action_id": "of-bob-alone", "handler": DRAMATIQ, "id": "letter-3"}
    assert page.request.post(f"{url}/actions/replay", form=form).status == 403
    page.close()

    page = alice.new_page()
    page.goto(f"{url}/letter/letter-3")
    form["token"] = ""
    assert page.request.post(f"{url}/actions/replay", form=form).status == 403
    page.close()
    assert store.dead_letters.get("letter-3") is not None


def _what_is_sensitive_is_on_no_page_and_a_replay_delivers_it(
    project: Project, alice: BrowserContext, url: str
) -> None:
    payload = f'{{"card": "{SECRET}"}}'
    project.wait(project.start("fastapi_events", "emit", "app.both", "card-declined", payload))
    assert project.told("charged") == SECRET
    event_id = project.told("noted")
    assert event_id in project.logs()
    page = alice.new_page()

    def is_dead() -> bool:
        return "app.charge" in _words_at(page, f"{url}/dead?event=card-declined")

    until(is_dead, "its letter is in a group")
    page.goto(f"{url}/dead/letters?event=card-declined")
    found = page.locator("main tbody th a").first.get_attribute("href")
    for path in (
        "", "/events", "/events/recent", f"/event/{event_id}", "/dead", "/dead/letters?event=card-declined",
        found, "/outbox", "/queues", "/audit", f"/search?q={event_id}",
    ):  # fmt: skip
        page.goto(f"{url}{path}")
        assert SECRET not in page.content(), path
    page.goto(f"{url}/event/{event_id}")
    text = words(page)
    assert "app.charge" in text  # of Dramatiq
    assert "app.note" in text  # of Celery
    page.goto(f"{url}/queues")
    assert {"dramatiq", "celery"} <= set(words(page).replace(":", " ").split())

    project.redis.set("mended", 1)
    page.goto(f"{url}{found}")
    with page.expect_navigation():
        page.locator("form[action$='/actions/replay'] button").click()
    assert project.told("charged") == SECRET
    page.close()


def _the_audit_names_who(alice: BrowserContext, url: str) -> None:
    page = alice.new_page()
    text = _words_at(page, f"{url}/audit")
    assert "alice" in text
    assert "bob" not in text
    assert "replayed" in text
    page.close()

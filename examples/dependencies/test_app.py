from collections.abc import Iterator

import pytest
from app.dependencies import Mailer, Settings, get_mailer, get_settings
from app.events import events as handler
from app.handlers import confirm
from app.web import app
from fastapi.testclient import TestClient

from fastapi_events.testing import InlineWorker

client = TestClient(app)


@pytest.fixture
def mailer() -> Iterator[Mailer]:
    fake = Mailer("test")
    handler.dependency_overrides[get_mailer] = lambda: fake
    yield fake
    handler.dependency_overrides.clear()


def test_a_mail_is_sent(worker: InlineWorker, mailer: Mailer) -> None:
    client.post("/orders/7")
    worker.run().assert_succeeded(confirm)
    assert mailer.sent == ["test: order 7 has arrived"]


def test_a_dependency_of_a_dependency_is_replaced(worker: InlineWorker) -> None:
    asked = []
    handler.dependency_overrides[get_settings] = lambda: asked.append("settings") or Settings("other")
    try:
        worker.emit("order-placed", {"number": 7}).assert_succeeded(confirm)
    finally:
        handler.dependency_overrides.clear()
    assert asked == ["settings"]


def test_what_a_dependency_cannot_do_is_tried_again(worker: InlineWorker) -> None:
    calls = []

    def away() -> Mailer:
        calls.append("connect")
        if len(calls) == 1:
            raise ConnectionError("the mail server is away")
        return Mailer("test")

    handler.dependency_overrides[get_mailer] = away
    try:
        worker.emit("order-placed", {"number": 7}).assert_succeeded(confirm, attempts=2)
    finally:
        handler.dependency_overrides.clear()

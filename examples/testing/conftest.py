from collections.abc import Iterator

import pytest
from app.events import events
from app.handlers import Oven
from app.web import app
from fastapi.testclient import TestClient


@pytest.fixture
def client() -> TestClient:
    return TestClient(app)


class FakeOven(Oven):
    def __init__(self) -> None:
        self.baked: list[int] = []

    def bake(self, number: int) -> None:
        self.baked.append(number)


@pytest.fixture(autouse=True)
def oven() -> Iterator[FakeOven]:
    fake = FakeOven()
    events.dependency_overrides[Oven] = lambda: fake
    yield fake
    events.dependency_overrides.clear()

"""The handlers of the application are found where it has put them."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fastapi_events.context import handler_store
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.scope import collect_events
from fastapi_events.testing.application import Application, handlers_named


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The module of an application, where no middleware has been made."""
    for middleware_id in list(handler_store):
        monkeypatch.delitem(handler_store, middleware_id)
    return {"a_shop": ModuleType("a_shop")}


@pytest.fixture
def module(modules: dict[str, Any]) -> Any:
    return modules["a_shop"]


def app_with(*handlers: Any) -> FastAPI:
    app = FastAPI()
    app.add_middleware(EventHandlerASGIMiddleware, handlers=list(handlers))
    return app


def test_those_of_an_application_that_has_not_been_used_yet(module: Any, modules: Any) -> None:
    module.stranger, module.app = LocalHandler(), app_with(shop := LocalHandler())
    assert Application(modules).handlers() == [shop]


def test_those_that_a_middleware_holds(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = LocalHandler()
    monkeypatch.setitem(handler_store, 1, [shop])
    monkeypatch.setitem(handler_store, 2, [shop])
    assert Application(modules).handlers() == [shop]


def test_those_of_a_block_are_of_that_block_alone(modules: Any) -> None:
    modules["a_shop"].app = app_with(shop := LocalHandler())
    with collect_events([LocalHandler()]):
        assert Application(modules).handlers() == [shop]


def test_where_there_is_no_middleware_those_of_modules(module: Any, modules: Any) -> None:
    module.shop = module.again = shop = LocalHandler()
    assert Application(modules).handlers() == [shop]


def test_a_module_that_is_imported_later_is_seen(modules: Any) -> None:
    application = Application(modules)
    assert application.handlers() == []
    modules["another_shop"] = other = ModuleType("another_shop")
    other.shop = LocalHandler()  # type: ignore[attr-defined]
    assert len(application.handlers()) == 1


def test_an_application_that_nobody_holds_any_more_is_forgotten() -> None:
    handler = LocalHandler()

    def another_test() -> None:
        client = TestClient(app_with(handler))
        client.get("/")
        client.cycle = client  # type: ignore[attr-defined]

    another_test()
    assert handler not in Application().handlers()


def test_lazy_objects_are_not_woken(module: Any, modules: Any) -> None:
    class Lazy:
        @property
        def __class__(self) -> Any:
            raise RuntimeError("woken")

    module.lazy = Lazy()
    assert Application(modules).handlers() == []


def test_a_setting_names_a_module_or_an_attribute(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "a_shop", module)
    module.shop, module.mail = LocalHandler(), LocalHandler()
    module.holder = type("Holder", (), {"mail": module.mail})
    assert handlers_named("a_shop") == [module.shop, module.mail]
    assert handlers_named("a_shop:mail") == [module.mail]
    assert handlers_named("a_shop:holder.mail") == [module.mail]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("a_shop.nowhere", "No module named"),
        ("a_shop:nothing", "has no 'nothing'"),
        ("a_shop:number", "there is no handler"),
        ("a_shop", "there is no handler"),
    ],
)
def test_a_setting_that_names_none_is_refused(
    module: Any, target: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "a_shop", module)
    module.number = 3
    with pytest.raises(ConfigurationError, match=said):
        handlers_named(target)

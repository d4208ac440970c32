"""Inspection: which handlers a target names, and what would lose their events."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette

from fastapi_events.errors import ConfigurationError, StorageError, StorageNotReady
from fastapi_events.event import Event
from fastapi_events.handlers.local import LocalHandler
from fastapi_events.handlers.task_queue.diagnosis import Finding
from fastapi_events.handlers.task_queue.worker.dead_letters import unreadable_letter
from fastapi_events.inspection import examine, handlers_in
from fastapi_events.middleware import EventHandlerASGIMiddleware
from fastapi_events.storage.memory import (
    MemoryCatalogue,
    MemoryDeadLetters,
    MemoryInbox,
    MemoryLanes,
    MemoryOutbox,
)
from fastapi_events.storage.outbox import Entry
from tests.handlers.task_queue.broker import ListHandler

# Targets


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module that can be imported, with whatever a test puts into it."""
    package = tmp_path / "inspected_shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "events.py").write_text("")
    (package / "broken.py").write_text("import inspected_shop_needs_this\n")
    monkeypatch.syspath_prepend(tmp_path)
    from inspected_shop import events  # type: ignore[import-not-found]

    yield events
    for name in [each for each in sys.modules if each.startswith("inspected_shop")]:
        del sys.modules[name]


def test_a_module_names_all_its_handlers_each_once(module: Any) -> None:
    module.one = module.again = ListHandler()
    module.two = ListHandler(queue="two")
    module.something_else = 7

    assert handlers_in("inspected_shop.events") == [module.one, module.two]


def test_an_attribute_names_one_however_deep(module: Any) -> None:
    module.one, module.place = ListHandler(), SimpleNamespace(inner=SimpleNamespace(two=ListHandler()))

    assert handlers_in("inspected_shop.events:one") == [module.one]
    assert handlers_in("inspected_shop.events:place.inner.two") == [module.place.inner.two]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("inspected_shop.nothing", r"no module 'inspected_shop\.nothing' here"),
        ("nobody_has_this.events", r"no module 'nobody_has_this\.events' here"),
        ("inspected_shop.events", "holds no DramatiqHandler or CeleryHandler"),
        ("inspected_shop.events:nothing", "has no 'nothing'"),
        ("inspected_shop.events:text.nothing", r"has no 'text\.nothing'"),
        ("inspected_shop.events:text", "is a str; expected a DramatiqHandler"),
        ("", "names no module"),
        (":events", "names no module"),
        (".events", "names no module"),
        ("inspected_shop/events.py", "is a file; name the module: inspected_shop.events"),
        ("inspected_shop.evnts", "did you mean 'inspected_shop.events'"),
        ("inspected_shop.events:tex", "did you mean 'text'"),
        ("inspected_shop.events.text", "did you mean 'inspected_shop.events:text'"),
        ("inspected_shop.events.Kind.__name__", "did you mean 'inspected_shop.events:Kind.__name__'"),
        ("inspected_shop.events.other", r"no module 'inspected_shop\.events\.other' here\. Run"),
        ("inspected_shop.events:Kind", "is the class Kind; name what was made of it"),
        ("inspected_shop.events:app", "has no queue handler: add_middleware"),
    ],
)
def test_a_wrong_target_is_named(module: Any, target: str, said: str) -> None:
    module.text, module.Kind, module.app = "no handler", type("Kind", (), {}), Starlette()

    with pytest.raises(ConfigurationError, match=said):
        handlers_in(target)


def test_an_application_stands_for_the_handlers_of_its_middleware(module: Any) -> None:
    handler, app = ListHandler(), Starlette()
    app.add_middleware(EventHandlerASGIMiddleware, handlers=[LocalHandler(), handler])
    module.app = app

    assert handlers_in("inspected_shop.events:app") == [handler]


def test_a_module_that_raises_says_where(module: Any, tmp_path: Path) -> None:
    (tmp_path / "inspected_shop" / "wrong.py").write_text("\nint('x')\n")

    with pytest.raises(ConfigurationError, match=r"cannot be imported: ValueError: .*wrong\.py:2"):
        handlers_in("inspected_shop.wrong")


def test_a_module_that_misses_another_says_which(module: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"No module named 'inspected_shop_needs_this'.*broken\.py:1"
    ):
        handlers_in("inspected_shop.broken")


# Findings


def found(**settings: Any) -> dict[str, Finding]:
    return {each.subject: each for each in examine(ListHandler(relay=False, **settings))}


class NotReady:
    """What a store says of whose tables nobody has made."""

    def check(self) -> None:
        raise StorageNotReady("the table is missing; run setup()")


class Gone:
    """What a store says that goes away after it has been checked."""

    def status(self) -> Any:
        raise StorageError("the database is gone")

    def count(self, **_: Any) -> int:
        raise StorageError("the database is gone")


class NoOutbox(NotReady, MemoryOutbox): ...


class NoInbox(NotReady, MemoryInbox): ...


class NoDeadLetters(NotReady, MemoryDeadLetters): ...


class NoLanes(NotReady, MemoryLanes): ...


class GoneOutbox(Gone, MemoryOutbox): ...


class GoneDeadLetters(Gone, MemoryDeadLetters): ...


def test_a_bare_handler_loses_events_and_hides_its_dead() -> None:
    findings = found()

    assert {subject: each.severity for subject, each in findings.items()} == {
        "outbox": "danger",
        "dead letters": "advice",
        "catalogue": "danger",
    }
    assert "pass store=" in findings["outbox"].text


def test_a_handler_that_has_all_is_fine() -> None:
    findings = found(
        outbox=MemoryOutbox(),
        durability="response",
        inbox=MemoryInbox(),
        dead_letters=MemoryDeadLetters(),
        lanes=MemoryLanes(),
        catalogue=MemoryCatalogue(),
    )

    assert {subject: each.severity for subject, each in findings.items()} == {
        "outbox": "ok",
        "dead letters": "ok",
        "catalogue": "ok",
    }


def test_it_says_how_much_waits() -> None:
    outbox, letters = MemoryOutbox(), MemoryDeadLetters()
    outbox.add([Entry(id=Event("a").id, destination="list:events", envelope="{}") for _ in range(2)])
    ListHandler(dead_letters=letters).worker.dead_letters.give_up(
        unreadable_letter("list:events", "events", "m1", "{}", ": not an event")
    )

    findings = found(outbox=outbox, dead_letters=letters)

    assert findings["outbox"].text == "2 waiting, 0 without all receipts"
    assert (findings["dead letters"].severity, findings["dead letters"].text) == ("advice", "1 kept")


def test_what_lives_in_memory_until_its_flush_is_worth_an_advice() -> None:
    assert found(outbox=MemoryOutbox())["durability"].severity == "advice"
    assert "durability" not in found(outbox=MemoryOutbox(), durability="response")


@pytest.mark.parametrize(
    ("subject", "settings"),
    [
        ("outbox", {"outbox": NoOutbox()}),
        ("dead letters", {"dead_letters": NoDeadLetters()}),
        ("inbox", {"inbox": NoInbox()}),
        ("lanes", {"lanes": NoLanes()}),
    ],
)
def test_a_store_that_cannot_be_used_is_a_danger(subject: str, settings: Any) -> None:
    finding = found(**settings)[subject]

    assert finding == Finding("danger", subject, "the table is missing; run setup()")


@pytest.mark.parametrize(
    ("subject", "settings"),
    [("outbox", {"outbox": GoneOutbox()}), ("dead letters", {"dead_letters": GoneDeadLetters()})],
)
def test_a_store_that_goes_away_meanwhile_is_a_danger_and_no_end_of_the_examination(
    subject: str, settings: Any
) -> None:
    findings = found(**settings)

    assert findings[subject] == Finding("danger", subject, "the database is gone")
    assert {"outbox", "dead letters"} <= findings.keys()


def test_the_engine_has_its_say() -> None:
    class Doubtful(ListHandler):
        def diagnose(self) -> Iterable[Finding]:
            yield Finding("danger", "broker", "keeps nothing")

    assert Finding("danger", "broker", "keeps nothing") in list(examine(Doubtful()))


def test_one_function_and_one_worker_are_told_in_the_singular() -> None:
    handler = ListHandler(catalogue=MemoryCatalogue())
    handler.register(lambda event: None, name="cook")
    handler.fleet.boot(["events"], engine="list")

    [count] = [each.text for each in examine(handler) if each.subject == "catalogue"]

    assert count == "1 function, 1 live worker"


class Forgetful(MemoryLanes):
    def forgets(self) -> str | None:
        return "a restart costs everything"


@pytest.mark.parametrize(
    ("settings", "level"),
    [({}, "danger"), ({"outbox": MemoryOutbox(), "confirm": "handled", "relay": False}, "ok")],
)
def test_lanes_that_a_restart_empties_are_a_danger_unless_an_outbox_has_their_events(
    settings: dict[str, Any], level: str
) -> None:
    found = [each for each in examine(ListHandler(lanes=Forgetful(), **settings)) if each.subject == "lanes"]

    assert [each.severity for each in found] == [level]
    assert "a restart costs everything" in found[0].text

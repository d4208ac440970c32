"""Queues and workers."""

from __future__ import annotations

from collections.abc import Callable

from tests.console.conftest import Page, Shop

Look = Callable[[str], Page]


def test_it_shows_depths_and_workers_of_all_handlers(look: Look) -> None:
    rows = look("/queues").rows()

    assert "kitchen 7 2 3 0 75 s \u2013 1" in rows
    assert "mail 7 2 3 0 75 s \u2013 1" in rows
    [worker] = [each for each in rows if each.startswith("worker-1:4001 dramatiq")]
    assert worker.startswith("worker-1:4001 dramatiq 1.4.2 events, kitchen shop.cook , shop.lonely")


def test_a_queue_that_nobody_consumes_is_named(shop: Shop, look: Look) -> None:
    shop.store.catalogue.leave("dramatiq:events", "dramatiq:events-1")

    page = look("/queues")

    assert "kitchen 7 2 3 0 75 s \u2013 nobody consumes" in page.rows()
    assert "danger Nobody consumes queue 'kitchen', in which 7 messages wait." in page.text
    assert "No worker is alive" in page.text


def test_without_a_catalogue_it_says_who_would_know(look_without_stores: Look) -> None:
    assert "only a catalogue knows" in look_without_stores("/queues").text

"""The shared variables: what they are where nobody has set them, and whose they are."""

from __future__ import annotations

import contextvars

import pytest

import fastapi_events
from fastapi_events import context


def test_where_no_scope_is_open_nobody_collects_and_nobody_is_in_charge() -> None:
    nowhere = contextvars.Context()

    assert nowhere.run(context.in_req_res_cycle.get) is None
    assert nowhere.run(context.current_event.get) is None
    assert nowhere.run(context.handling_loop.get) is None
    for variable in (context.event_store, context.middleware_identifier):
        with pytest.raises(LookupError):
            nowhere.run(variable.get)  # type: ignore[arg-type]


def test_an_unknown_id_has_no_handlers() -> None:
    assert context.handler_store[-1] == []
    del context.handler_store[-1]


def test_the_package_hands_out_these_very_variables() -> None:
    for name in ("event_store", "handler_store", "in_req_res_cycle", "middleware_identifier"):
        assert getattr(fastapi_events, name) is getattr(context, name)

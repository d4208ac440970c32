"""A scope around every task of an app.

The tasks are not shared: a shared one would be in the apps of all other tests, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, Task
from celery.exceptions import Ignore

from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError
from fastapi_events.handlers.celery import open_scopes
from tests.recording import Recorder


@pytest.fixture
def app() -> Celery:
    return Celery("shop", broker="memory://", set_as_current=False)


@pytest.fixture
def taking(app: Celery) -> Iterator[Recorder]:
    taking = Recorder()
    scopes = open_scopes(app, [taking])
    yield taking
    scopes.disconnect()


def test_what_a_task_dispatches_goes_out_when_it_has_succeeded(app: Celery, taking: Recorder) -> None:
    @app.task(shared=False)
    def import_cats() -> list[Any]:
        dispatch("cats-imported")
        return list(taking.names)

    assert import_cats.apply().get() == []
    assert taking.names == ["cats-imported"]


@pytest.mark.parametrize("error", [ValueError("no"), Ignore()], ids=["failed", "ignored"])
def test_a_task_that_does_not_succeed_dispatches_nothing(
    app: Celery, taking: Recorder, error: Exception
) -> None:
    @app.task(shared=False)
    def import_cats() -> None:
        dispatch("cats-imported")
        raise error

    import_cats.apply()

    assert taking.names == []
    with pytest.raises(LookupError):
        dispatch("nowhere")


def test_a_task_that_is_tried_again_dispatches_anew(app: Celery, taking: Recorder) -> None:
    @app.task(bind=True, max_retries=1, shared=False)
    def import_cats(self: Task) -> None:
        dispatch(f"attempt-{self.request.retries + 1}")
        if not self.request.retries:
            raise self.retry(countdown=0)

    import_cats.apply()

    assert taking.names == ["attempt-2"]


def test_a_task_within_a_task_has_a_scope_of_its_own(app: Celery, taking: Recorder) -> None:
    @app.task(shared=False)
    def inner() -> None:
        dispatch("inner")

    @app.task(shared=False)
    def outer() -> None:
        dispatch("outer")
        inner.apply()
        dispatch("outer again")

    outer.apply()

    assert taking.names == ["inner", "outer", "outer again"]


def test_tasks_of_other_apps_are_left_alone(taking: Recorder) -> None:
    other = Celery("other", broker="memory://", set_as_current=False)

    @other.task(shared=False)
    def import_cats() -> None:
        with pytest.raises(LookupError):
            dispatch("cats-imported")

    assert import_cats.apply().successful()
    assert taking.names == []


def test_each_app_has_scopes_of_its_own(app: Celery, taking: Recorder) -> None:
    other, its = Celery("other", broker="memory://", set_as_current=False), Recorder()
    scopes = open_scopes(other, [its])

    def import_some(kind: str) -> None:
        dispatch(f"{kind}-imported")

    try:
        app.task(import_some, shared=False).apply(["cats"])
        other.task(import_some, shared=False).apply(["dogs"])
    finally:
        scopes.disconnect()

    assert (taking.names, its.names) == (["cats-imported"], ["dogs-imported"])


def test_a_wrong_policy_is_refused_where_it_is_written(app: Celery) -> None:
    with pytest.raises((ConfigurationError, ValueError)):
        open_scopes(app, [Recorder()], flush_when="sucess")  # type: ignore[arg-type]

"""Dependencies: what is read of them at registration, and how their values come about for one event."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Annotated, Any

import pytest
from fastapi import Body, Depends, Header, Query, Request, WebSocket

from fastapi_events.errors import ConfigurationError
from fastapi_events.event import Event
from fastapi_events.subscriptions.dependencies import (
    Dependency,
    analyse,
    dependency_of,
    find_depends,
    solve,
)
from fastapi_events.subscriptions.runner import InThread, drive
from fastapi_events.subscriptions.signature import parameters_of

ASKING = "app.feed"


def settings() -> str:
    return "settings"


def session(using: Annotated[str, Depends(settings)]) -> str:
    return f"session with {using}"


class Clock:
    """A class is a dependency, too."""

    def __init__(self, using: str = Depends(settings)) -> None:
        self.using = using


def read(function: Callable[..., Any]) -> Dependency:
    """The dependency that a function's only parameter asks for."""
    [parameter] = parameters_of(function)
    depends = find_depends(parameter)
    assert depends is not None
    return dependency_of(parameter, depends, asking=ASKING)


def solved(
    dependency: Dependency,
    overrides: dict[Any, Any] | None = None,
    *,
    event: Event = Event("cat"),
    error: Exception | None = None,
) -> Any:
    """The value of a dependency, whose teardown gets to see an error where one is given."""

    async def main() -> Any:
        async with AsyncExitStack() as stack:
            value = await solve(
                dependency, event, caller=InThread(), overrides=overrides or {}, cache={}, stack=stack
            )
            if error is not None:
                raise error
            return value

    return drive(main())


# What is read


def test_a_dependency_stands_in_the_annotation_or_as_the_default() -> None:
    def annotated(value: Annotated[str, Depends(session)]) -> None: ...
    def default(value: str = Depends(session)) -> None: ...

    for function in (annotated, default):
        dependency = read(function)
        assert dependency.call is session
        assert [(name, needed.call) for name, needed in dependency.needs] == [("using", settings)]


def test_what_has_no_depends_is_none() -> None:
    def plain(event: Event, metadata: Annotated[str, "text"], default: int = 3) -> None: ...

    assert [find_depends(each) for each in parameters_of(plain)] == [None, None, None]


def test_a_depends_without_a_function_calls_the_class_of_its_parameter() -> None:
    def asks(clock: Annotated[Clock, Depends()]) -> None: ...

    dependency = read(asks)
    assert dependency.call is Clock
    assert solved(dependency).using == "settings"


def test_a_depends_that_has_nothing_to_call_is_refused() -> None:
    def bare(value=Depends()) -> None: ...
    def unresolved(value: Nowhere = Depends()) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    for function in (bare, unresolved):
        with pytest.raises(ConfigurationError, match=r"app\.feed: Depends\(\) of parameter 'value' has"):
            read(function)


def test_whoever_asks_for_the_event_gets_it() -> None:
    def tenant(event: Event, using: Annotated[str, Depends(settings)]) -> str:
        return f"{event.payload} by {using}"

    dependency = analyse(tenant, asking=ASKING)

    assert dependency.events == ("event",)
    assert solved(dependency, event=Event("cat", "tom")) == "tom by settings"


def test_what_has_a_default_keeps_it() -> None:
    def limited(limit: int = 7) -> int:
        return limit

    assert solved(analyse(limited, asking=ASKING)) == 7


def requires(request: Request) -> None: ...
def requires_socket(socket: WebSocket) -> None: ...
def requires_default_request(request: Request = None) -> None: ...  # type: ignore[assignment]
def requires_default_socket(socket: WebSocket = None) -> None: ...  # type: ignore[assignment]
def requires_something(token: str) -> None: ...
def requires_query(token: Annotated[str, Query()] = "") -> None: ...
def requires_header(token: str = Header("")) -> None: ...
def requires_body(token: Annotated[str, Body()] = "") -> None: ...
def requires_deep(below: Annotated[None, Depends(requires_query)]) -> None: ...


@pytest.mark.parametrize(
    ("call", "parameter"),
    [
        (requires, "request"),
        (requires_socket, "socket"),
        (requires_default_request, "request"),
        (requires_default_socket, "socket"),
        (requires_something, "token"),
        (requires_query, "token"),
        (requires_header, "token"),
        (requires_body, "token"),
        (requires_deep, "token"),
    ],
)
def test_what_needs_a_request_is_refused_with_the_way_out(call: Any, parameter: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{ASKING}: .* needs a request .*'{parameter}'.* payload"):
        analyse(call, asking=ASKING)


def circle(again: Any) -> None: ...
def through(around: Any) -> None: ...


def test_what_depends_on_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(circle.__annotations__, "again", Annotated[None, Depends(through)])
    monkeypatch.setitem(through.__annotations__, "around", Annotated[None, Depends(circle)])

    with pytest.raises(ConfigurationError, match=r"circle depends on itself"):
        analyse(circle, asking=ASKING)


def test_two_that_need_the_same_are_no_circle() -> None:
    def both(one: Annotated[str, Depends(session)], other: Annotated[str, Depends(settings)]) -> str:
        return f"{one}, {other}"

    assert solved(analyse(both, asking=ASKING)) == "session with settings, settings"


# How values come about


class Opened:
    """Counts its calls, and writes down what becomes of it."""

    def __init__(self) -> None:
        self.calls = 0
        self.log: list[str] = []

    def plain(self) -> int:
        self.calls += 1
        return self.calls

    async def coroutine(self) -> int:
        return self.plain()

    def generator(self) -> Iterator[int]:
        try:
            yield self.plain()
        except ValueError as error:
            self.log.append(f"saw {error}")
        finally:
            self.log.append("closed")

    async def async_generator(self) -> AsyncIterator[int]:
        try:
            yield self.plain()
        except ValueError as error:
            self.log.append(f"saw {error}")
        finally:
            self.log.append("closed")


@pytest.fixture
def opened() -> Opened:
    return Opened()


@pytest.mark.parametrize("kind", ["plain", "coroutine", "generator", "async_generator"])
def test_each_kind_of_dependency_gives_its_value(opened: Opened, kind: str) -> None:
    assert solved(analyse(getattr(opened, kind), asking=ASKING)) == 1


@pytest.mark.parametrize("kind", ["generator", "async_generator"])
def test_what_yields_is_closed_when_all_is_done(opened: Opened, kind: str) -> None:
    solved(analyse(getattr(opened, kind), asking=ASKING))

    assert opened.log == ["closed"]


@pytest.mark.parametrize("kind", ["generator", "async_generator"])
def test_what_swallows_an_error_does_not_turn_a_failure_into_a_success(opened: Opened, kind: str) -> None:
    with pytest.raises(ValueError, match="no fish"):
        solved(analyse(getattr(opened, kind), asking=ASKING), error=ValueError("no fish"))

    assert opened.log == ["saw no fish", "closed"]


@pytest.mark.parametrize(("use_cache", "calls"), [(True, 1), (False, 2)])
def test_a_value_is_shared_by_all_who_need_it_unless_they_say_otherwise(
    opened: Opened, use_cache: bool, calls: int
) -> None:
    counted = opened.plain
    one = Depends(counted, use_cache=use_cache)

    def both(first: int = one, second: int = one) -> tuple[int, int]:
        return first, second

    assert solved(analyse(both, asking=ASKING)) == (1, calls)


def test_nothing_is_shared_between_events(opened: Opened) -> None:
    dependency = analyse(opened.plain, asking=ASKING)

    assert [solved(dependency), solved(dependency)] == [1, 2]


def test_an_override_takes_the_place_with_needs_of_its_own() -> None:
    def fake(event: Event, using: Annotated[str, Depends(settings)]) -> str:
        return f"fake for {event.name} with {using}"

    def asks(one: Annotated[str, Depends(session)]) -> str:
        return one

    dependency = analyse(asks, asking=ASKING)

    assert solved(dependency, {session: fake}) == "fake for cat with settings"
    assert solved(dependency, {settings: lambda: "others"}) == "session with others"
    assert solved(dependency) == "session with settings"


def test_an_override_is_shared_like_what_it_replaces(opened: Opened) -> None:
    def both(
        one: Annotated[int, Depends(settings)], other: Annotated[int, Depends(settings)]
    ) -> tuple[int, int]:
        return one, other

    assert solved(analyse(both, asking=ASKING), {settings: opened.plain}) == (1, 1)


def test_an_override_that_needs_a_request_says_whose_it_is() -> None:
    with pytest.raises(ConfigurationError, match=r"the override of .*settings: .*needs a request"):
        solved(analyse(settings, asking=ASKING), {settings: requires})


def test_what_has_been_opened_is_closed_though_the_next_one_fails(opened: Opened) -> None:
    def fails(below: int = Depends(opened.generator)) -> None:
        raise KeyError("no session")

    with pytest.raises(KeyError, match="no session"):
        solved(analyse(fails, asking=ASKING))

    assert opened.log == ["closed"]

"""What a worker has done: which functions ran for which events, how often, when, and to what end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fastapi_events import checks
from fastapi_events.checks import counted
from fastapi_events.event import Event, wire_name
from fastapi_events.testing.dispatched import DispatchedEvents, Target, Where
from fastapi_events.testing.function_results import Function, FunctionResults, shown
from fastapi_events.testing.function_results import times as in_times
from fastapi_events.testing.log import Entry

_MOST_SHOWN = 8


class Names(Protocol):
    """Finds the subscriptions of a function."""

    def __call__(self, function: Function) -> frozenset[str]:
        """Their names.

        Raises:
            ConfigurationError: When it is registered nowhere.
        """


@dataclass(frozen=True)
class Outstanding:
    """What a worker leaves until a test asks for it.

    Parameters:
        delayed: Events that were dispatched with a delay: in how many seconds they are due, and their names.
        paused: Functions that somebody has paused and for which events wait: for how many seconds more, or
            None where until they are resumed.
    """

    delayed: Sequence[tuple[float, str]] = ()
    paused: Mapping[str, float | None] = field(default_factory=dict)


class Run:
    """What happened since the worker was asked last, with assertions; a failed one says what did.

    Parameters:
        entries: What happened, in order.
        names: Finds the subscriptions of a function.
        outstanding: What still waits.
    """

    def __init__(self, entries: Sequence[Entry], names: Names, outstanding: Outstanding) -> None:
        self._entries = entries
        self._names = names
        self._outstanding = outstanding

    @property
    def dispatched(self) -> DispatchedEvents:
        """The events that were dispatched, by requests and by functions."""
        gone = {id(each.event) for each in self._of("discarded")}
        events = (each.event for each in self._of("dispatched") if each.event is not None)
        return DispatchedEvents(each for each in events if id(each) not in gone)

    @property
    def unmatched(self) -> list[Event]:
        """The events to which nobody listens."""
        return [each.event for each in self._of("unmatched") if each.event is not None]

    @property
    def lost(self) -> list[tuple[Event, str]]:
        """The events that were lost, and why."""
        return [(each.event, each.reason) for each in self._of("lost") if each.event is not None]

    @property
    def delayed(self) -> list[tuple[float, str]]:
        """What still waits for its time: how many seconds, and the event's name."""
        return list(self._outstanding.delayed)

    @property
    def paused(self) -> dict[str, float | None]:
        """The functions that somebody has paused and for which events wait: for how many seconds more.

        None where that is until they are resumed.
        """
        return dict(self._outstanding.paused)

    def of(self, function: Function) -> FunctionResults:
        """What one function did.

        Parameters:
            function: The function, or the name of its subscription.

        Raises:
            ConfigurationError: When no handler has it.
        """
        names = self._names(function)
        return FunctionResults([each for each in self._entries if each.subscription in names])

    def assert_dispatched(self, target: Target, /, *, where: Where | None = None, **fields: Any) -> Event:
        """Assert that an event was dispatched; see `DispatchedEvents.assert_dispatched`."""
        __tracebackhide__ = True
        return self.dispatched.assert_dispatched(target, where=where, **fields)

    def assert_dispatched_once(
        self, target: Target, /, *, where: Where | None = None, **fields: Any
    ) -> Event:
        """Assert that an event was dispatched, and no second one like it."""
        __tracebackhide__ = True
        return self.dispatched.assert_dispatched_once(target, where=where, **fields)

    def assert_not_dispatched(
        self, target: Target = "*", /, *, where: Where | None = None, **fields: Any
    ) -> None:
        """Assert that no such event was dispatched."""
        __tracebackhide__ = True
        self.dispatched.assert_not_dispatched(target, where=where, **fields)

    def assert_ran(self, function: Function, *, times: int | None = None) -> None:
        """Assert that a function ran.

        Parameters:
            function: The function, or the name of its subscription.
            times: For how many events; a retry does not count, a second delivery does.

        Raises:
            AssertionError: When it did not, or not so often.
        """
        __tracebackhide__ = True
        found = self.of(function)
        if times is not None and checks.whole("times", times, least=0) == 0:
            self.assert_not_ran(function)
            return
        if not found.attempts:
            skipped = (
                f" It skipped {len(found.skipped)} that it had completed before." if found.skipped else ""
            )
            raise AssertionError(f"{shown(function)} did not run.{skipped} {self._what_happened()}")
        if times is not None and found.times != times:
            events = ", ".join(f"{wire_name(each.name)} {each.payload!r}" for each in found.events)
            raise AssertionError(
                f"{shown(function)} ran {in_times(found.times)}, not {in_times(times)}: for {events}."
            )

    def assert_not_ran(self, function: Function) -> None:
        """Assert that a function did not run.

        Raises:
            AssertionError: When it did.
        """
        __tracebackhide__ = True
        found = self.of(function)
        if found.attempts:
            events = ", ".join(f"{wire_name(each.name)} {each.payload!r}" for each in found.events)
            raise AssertionError(f"{shown(function)} ran {in_times(found.times)}: for {events}.")

    def assert_succeeded(self, function: Function, *, attempts: int | None = None) -> None:
        """Assert that a function returned for every event that it ran for.

        Parameters:
            attempts: How many it took in all.

        Raises:
            AssertionError: When it did not run, was given up, or took another number of attempts.
        """
        __tracebackhide__ = True
        _check_attempts(attempts)
        self.assert_ran(function)
        found = self.of(function)
        if found.dead or not found.succeeded:
            reason = (found.dead or [repr(each) for each in found.errors] or ["it has not returned yet"])[-1]
            raise AssertionError(
                f"{shown(function)} did not succeed after {counted(found.attempts, 'attempt')}: {reason}"
            )
        if attempts is not None and found.attempts != attempts:
            waits = f" It waited for {found.waits} s in between." if found.waits else ""
            raise AssertionError(
                f"{shown(function)} took {counted(found.attempts, 'attempt')}, not {attempts}.{waits}"
            )

    def assert_dead(
        self, function: Function, *, reason: str | None = None, attempts: int | None = None
    ) -> None:
        """Assert that a message to a function was given up.

        Parameters:
            reason: What its dead letter says, or a part of that.
            attempts: After how many.

        Raises:
            AssertionError: When none was, or for another reason.
        """
        __tracebackhide__ = True
        _check_attempts(attempts)
        if reason is not None:
            checks.text("reason", reason, such_as="TimeoutError")
        found = self.of(function)
        if not found.dead:
            succeeded = f"it succeeded for {counted(len(found.succeeded), 'event')}."
            what = succeeded if found.succeeded else self._what_happened()
            raise AssertionError(f"No message to {shown(function)} was given up: {what}")
        if reason is not None and not any(reason in each for each in found.dead):
            given = "\n".join(f"  {each}" for each in found.dead)
            raise AssertionError(f"{shown(function)} was given up, not for {reason!r}:\n{given}")
        if attempts is not None and found.attempts != attempts:
            raise AssertionError(
                f"{shown(function)} was given up after {counted(found.attempts, 'attempt')}, not {attempts}."
            )

    def assert_nothing_dead(self) -> None:
        """Assert that no message was given up.

        Raises:
            AssertionError: When one was, with the reasons.
        """
        __tracebackhide__ = True
        if dead := self._of("dead"):
            given = "\n".join(f"  {each.subscription}: {each.reason}" for each in dead[:_MOST_SHOWN])
            raise AssertionError(f"{len(dead)} given up:\n{given}")

    def assert_nothing_unmatched(self) -> None:
        """Assert that somebody listens to each event.

        Raises:
            AssertionError: When nobody listens to one.
        """
        __tracebackhide__ = True
        if unmatched := self.unmatched:
            given = "\n".join(
                f"  {wire_name(each.name)}  {each.payload!r}" for each in unmatched[:_MOST_SHOWN]
            )
            raise AssertionError(
                f"Nobody listens to {len(unmatched)} of the events. Is the module imported that registers "
                f"their functions?\n{given}"
            )

    def __repr__(self) -> str:
        return f"<Run: {self._what_happened()}>"

    def _of(self, hook: str) -> list[Entry]:
        return [each for each in self._entries if each.hook == hook]

    def _what_happened(self) -> str:
        """What ran, what nobody listens to, what waits; for failed assertions."""
        ran = list(dict.fromkeys(str(each.subscription) for each in self._of("started")))
        said = [f"What ran: {', '.join(ran[:_MOST_SHOWN])}." if ran else "Nothing ran."]
        if unmatched := list(dict.fromkeys(wire_name(each.name) for each in self.unmatched)):
            said.append(f"Nobody listens to {', '.join(unmatched[:_MOST_SHOWN])}.")
        if lost := self.lost:
            said.append(f"Lost: {lost[0][0].name!r}, {lost[0][1]}.")
        if self.delayed:
            seconds, what = self.delayed[0]
            said.append(f"{what} waits for {seconds:.0f} s more: worker.advance(seconds={seconds:.0f}).")
        for subscription, left in self.paused.items():
            until = "until it is resumed" if left is None else f"for {left:.0f} s more"
            said.append(f"{subscription} is paused {until}.")
        if not ran and not self._of("dispatched"):
            said.append("Nothing was dispatched.")
        return " ".join(said)


def _check_attempts(attempts: int | None) -> None:
    if attempts is not None:
        checks.whole("attempts", attempts, least=1)

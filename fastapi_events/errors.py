"""Everything that this package raises.

FastapiEventError
├── ConfigurationError                        wrong use, found before any event is lost by it
│   ├── InvalidSetting (TypeError, ValueError) a name, type or value that a setting cannot have
│   └── MissingDependencyError (ImportError)  an extra that is not installed
├── MissingEventNameError
│   ├── MissingEventNameDuringRegistration
│   └── MissingEventNameDuringDispatch
├── MultiplePayloadsDetectedDuringDispatch (ValueError)
├── UnserialisablePayload (ValueError)        a payload that cannot travel
├── DelayTooLong (ValueError)                 an event that no one can hold back for so long
├── InvalidPayload (ValueError)               a payload that does not fit its subscription
├── FunctionExited (RuntimeError)             a function that wanted to end the process
├── BatchFailed (RuntimeError)                some events of a batch
├── UnreadableEnvelope (ValueError)           a message that is no event
├── DeliveredTooOften (RuntimeError)          a message that seems to kill its workers
├── UnknownSubscription (LookupError)         a message for a function that this worker does not have
├── NotPublished (RuntimeError)               a broker that did not take the events
└── StorageError (RuntimeError)               a store that did not do what it was asked
    ├── StorageFull                           its limit, or the disk's
    └── StorageNotReady                       a schema that is missing or newer, a file that cannot be written
"""

from collections.abc import Mapping, Sequence
from typing import Any


class FastapiEventError(Exception):
    """The root: `except FastapiEventError` catches all that this package raises."""


class ConfigurationError(FastapiEventError):
    """Raised when something is set up in a way that cannot work."""


class InvalidSetting(ConfigurationError, TypeError, ValueError):
    """Raised where a setting is written, when nothing has its name or it cannot have the value."""


class MissingDependencyError(ConfigurationError, ImportError):
    """Raised on import when a handler's library is not installed."""

    def __init__(self, library: str, extra: str) -> None:
        super().__init__(
            f"{library} is not installed. Install it with: pip install 'fastapi-events[{extra}]'"
        )


class MissingEventNameError(FastapiEventError):
    """Raised when nothing says what an event is called."""


class MissingEventNameDuringRegistration(MissingEventNameError):
    """Raised when a schema or model is registered that has no `__event_name__`."""

    def __init__(self) -> None:
        super().__init__(
            "The event has no name: define __event_name__ on the schema or model, "
            "or pass event_name= to register()."
        )


class MissingEventNameDuringDispatch(MissingEventNameError):
    """Raised when `dispatch()` is given no name and its model has no `__event_name__`.

    Parameters:
        given: What it was given instead of a name; only its type is told.
    """

    def __init__(self, given: object = None) -> None:
        kind = type(given).__name__
        found = "" if given is None else f" {kind!r} is no type of names, and defines no __event_name__;"
        super().__init__(
            f"The event has no name:{found} pass event_name= to dispatch(), or define __event_name__ on the "
            "model."
        )


class MultiplePayloadsDetectedDuringDispatch(FastapiEventError, ValueError):
    """Raised when `dispatch()` is given a model, which is a payload, and a payload beside it."""

    def __init__(self) -> None:
        super().__init__("dispatch() was given two payloads: pass either a model or payload=, not both.")


class UnserialisablePayload(FastapiEventError, ValueError):
    """Raised at the line that dispatches, when the payload cannot travel to a queue.

    Parameters:
        event_name: The event's name.
        path: Where in the payload, such as `payload.items[3].price`.
        reason: What is wrong there.
    """

    def __init__(self, event_name: str, path: str, reason: str) -> None:
        super().__init__(f"Event {event_name!r} cannot be sent: {path} {reason}.")
        self.event_name = event_name
        self.path = path
        self.reason = reason


class DelayTooLong(FastapiEventError, ValueError):
    """Raised at the line that dispatches, when a handler cannot hold the event back until it is due.

    Parameters:
        event_name: The event's name.
        handler: The handler's name.
        seconds: How long it would have to.
        longest: How long it can.
    """

    def __init__(self, event_name: str, handler: str, seconds: float, longest: float) -> None:
        can = f"at most {longest:,.0f} s" if longest else "none"
        super().__init__(
            f"Event {event_name!r} is due in {seconds:,.0f} s, but {handler} holds {can} back; "
            "a queue handler with an outbox= holds any."
        )
        self.event_name = event_name
        self.handler = handler
        self.seconds = seconds
        self.longest = longest


class InvalidPayload(FastapiEventError, ValueError):
    """Raised when a payload does not validate for its schema or subscription; no retry can mend it."""


class FunctionExited(FastapiEventError, RuntimeError):
    """Raised when a function in a worker calls `sys.exit()` or raises `KeyboardInterrupt`.

    It has failed then, as with any other error; the worker goes on.
    """

    def __init__(self, error: BaseException) -> None:
        raised = f"SystemExit({error.code!r})" if isinstance(error, SystemExit) else type(error).__name__
        super().__init__(f"The function raised {raised}, which ends no worker: it has failed.")


class BatchFailed(FastapiEventError, RuntimeError):
    """Raise it in a subscription with `batch=` where only some of its events have failed.

    Parameters:
        errors: What was wrong, by the ids of the events; those that are not named have succeeded.
    """

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        super().__init__(f"{len(errors)} event{'' if len(errors) == 1 else 's'} of the batch failed")
        self.errors: dict[str, Exception] = dict(errors)


class UnreadableEnvelope(FastapiEventError, ValueError):
    """Raised when a message is not a CloudEvents 1.0 envelope; no retry can mend it."""


class DeliveredTooOften(FastapiEventError, RuntimeError):
    """Raised in place of running a subscription whose message has crashed too many workers.

    It probably kills the process that runs it, which no retry can mend.

    Parameters:
        crashes: How many workers have died while they had the message.
    """

    def __init__(self, crashes: int) -> None:
        super().__init__(
            f"its worker died {crashes} times while it had the message (killed, out of memory, crashed)"
        )
        self.crashes = crashes


class UnknownSubscription(FastapiEventError, LookupError):
    """Raised when a message names a subscription that this worker does not have.

    During a rolling deploy that mends itself, so it is retried for a while before the message is kept aside.
    """


class UnknownEventName(FastapiEventError, LookupError):
    """Raised by `dispatch()` with `strict_names=True`: nobody listens to the name, and it has no schema."""


class NotPublished(FastapiEventError, RuntimeError):
    """Raised when a broker or service did not confirm events; they may or may not have arrived.

    Parameters:
        reason: Why.
        events: Which, if it is not all that were given.
    """

    def __init__(self, reason: str, *, events: Sequence[Any] = ()) -> None:
        super().__init__(reason)
        self.events = events


class StorageError(FastapiEventError, RuntimeError):
    """Raised when a store did not do what it was asked; nothing was changed, or nobody can tell."""


class StorageFull(StorageError):
    """Raised when a store has reached its limit, or its disk or memory is full; nothing was changed."""


class StorageNotReady(StorageError):
    """Raised when a store cannot be used as it is; the message says what is missing and what to do."""


def leaves(error: BaseException) -> list[BaseException]:
    """The errors inside of a group, however deep; of an error that is no group, itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for each in error.exceptions for leaf in leaves(each)]


def raise_together(errors: Sequence[BaseException], message: str) -> None:
    """Raise a single error as it is, several as a group, none not at all."""
    try:
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise BaseExceptionGroup(message, errors)
    finally:
        del errors  # they would hold this frame by their tracebacks, and it them


def reason_of(error: BaseException) -> str:
    """An error in one line, which names the leaves of a group."""
    reason = f"{type(error).__name__}: {error}"
    if not isinstance(error, BaseExceptionGroup):
        return reason
    return f"{reason}: {'; '.join(f'{type(each).__name__}: {each}' for each in leaves(error))}"

"""Functions of local handlers that fail for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

from fastapi_events.handlers.local import LocalHandler
from fastapi_events.subscriptions.subscription import Subscription
from fastapi_events.testing.faults import Faults


@contextmanager
def failing_locally(
    handlers: Iterable[LocalHandler], failing: Sequence[Subscription], faults: Faults
) -> Iterator[None]:
    """A block in which some functions of local handlers ask first whether they are to fail.

    What is registered inside of the block stays.
    """
    with ExitStack() as leaving:
        for handler in handlers:
            copies = {id(each): _copy(each, faults) for each in handler.subscriptions if each in failing}
            if copies:
                originals = {id(copy): each for each in failing if (copy := copies.get(id(each))) is not None}
                _replace(handler, copies)
                leaving.callback(_replace, handler, originals)
        yield


def _copy(subscription: Subscription, faults: Faults) -> Subscription:
    plan = subscription.plan
    return replace(
        subscription, plan=plan._replace(function=faults.around(plan.function, is_async=plan.is_async))
    )


def _replace(handler: LocalHandler, by: dict[int, Subscription]) -> None:
    handler.subscriptions.replace([by.get(id(each), each) for each in handler.subscriptions])

"""Settings of a queue handler: what there is, the defaults, and the checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any, Final, Literal, Protocol, TypeAlias, TypedDict, cast

from fastapi_events import checks
from fastapi_events.constants import DEFAULT_QUEUE, DEFAULT_SOURCE, MAX_PAYLOAD_BYTES
from fastapi_events.errors import InvalidSetting
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.routes import Routes
from fastapi_events.redaction import Redact
from fastapi_events.retry import RetryPolicy
from fastapi_events.storage.catalogue import FORGET_AFTER_SECONDS, Catalogue
from fastapi_events.storage.dead_letters import DeadLetters
from fastapi_events.storage.inbox import Inbox
from fastapi_events.storage.journal import Journal
from fastapi_events.storage.lanes import Lanes
from fastapi_events.storage.outbox import RESEND_AFTER_SECONDS, Outbox

Seconds: TypeAlias = float | timedelta
"""A length of time: a number of seconds, or a `timedelta`."""

Durability: TypeAlias = Literal["flush", "response"]
Unmatched: TypeAlias = Literal["report", "keep"]
Confirm: TypeAlias = Literal["published", "handled"]
QueueType: TypeAlias = Literal["classic", "quorum"]

HeadersFrom: TypeAlias = Callable[[], Mapping[str, str]]
ContextFrom: TypeAlias = Callable[[Event], AbstractContextManager[Any]]

Encrypt: TypeAlias = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes]]
"""How values are encrypted to ASCII text, and decrypted."""

UNKNOWN_RETRY = RetryPolicy(max_retries=10, max_backoff=60.0)
"""How long a message waits for a worker that knows its subscription: some six minutes."""

PARTS: Final[Mapping[str, type[Any]]] = {
    "outbox": Outbox, "inbox": Inbox, "dead_letters": DeadLetters, "lanes": Lanes,
    "catalogue": Catalogue, "journal": Journal,
}  # fmt: skip
"""What `store=` brings, as far as the store has it."""


class _FromStore:
    """The default of a part: that of the store, if there is one and it has it."""

    def __repr__(self) -> str:
        return "that of the store"


FROM_STORE: Final[Any] = _FromStore()


class HasOutbox(Protocol):
    """A store with an outbox."""

    @property
    def outbox(self) -> Outbox:
        """The outbox that the store brings."""


class HasInbox(Protocol):
    """A store with an inbox."""

    @property
    def inbox(self) -> Inbox:
        """The inbox that the store brings."""


class HasDeadLetters(Protocol):
    """A store with dead letters."""

    @property
    def dead_letters(self) -> DeadLetters:
        """The dead letters that the store brings."""


class HasLanes(Protocol):
    """A store with lanes."""

    @property
    def lanes(self) -> Lanes:
        """The lanes that the store brings."""


class HasCatalogue(Protocol):
    """A store with a catalogue."""

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue that the store brings."""


class HasJournal(Protocol):
    """A store with a journal."""

    @property
    def journal(self) -> Journal:
        """The journal that the store brings."""


AnyStore: TypeAlias = HasOutbox | HasInbox | HasDeadLetters | HasLanes | HasCatalogue | HasJournal
"""A store with at least one part, such as `SqlStore`, `RedisStore` or `MemoryStore`."""


class TaskQueueOptions(TypedDict, total=False):
    """The settings that every queue handler takes, for editors and type checkers; see `TaskQueueSettings`."""

    queue: str
    routes: Mapping[Any, str] | None
    retry: RetryPolicy
    unknown_retry: RetryPolicy
    max_crashes: int
    source: str
    max_payload_bytes: int
    flush_deadline: Seconds
    shutdown_deadline: Seconds
    max_pending_events: int
    store: AnyStore | None
    outbox: Outbox | None
    durability: Durability
    confirm: Confirm
    resend_after: Seconds
    relay: bool
    inbox: Inbox | None
    dead_letters: DeadLetters | None
    lanes: Lanes | None
    headers_from: HeadersFrom | None
    context_from: ContextFrom | None
    catalogue: Catalogue | None
    forget_after: Seconds
    journal: Journal | None
    journal_payloads: bool
    redact: Redact | None
    encrypt: Encrypt | None
    unmatched: Unmatched
    strict_names: bool
    queue_type: QueueType
    longest_delay: Seconds | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskQueueSettings:
    """The settings of a queue handler. Lengths of time are seconds, or a `timedelta`.

    Parameters:
        queue: Where fan-out messages wait, and those of subscriptions that name no queue of their own.
        routes: Queues for events of certain names, such as `{"billing.*": "billing"}`, instead of `queue`;
            the first pattern that matches decides.
        retry: When a failed subscription runs again, unless it says so itself.
        unknown_retry: When a message for a subscription that no running worker has is tried again.
        max_crashes: How many workers may die of a message before it is given up.
        source: Which service events come from; the `source` of their envelopes.
        max_payload_bytes: The largest payload, as encoded JSON.
        flush_deadline: How long a flush may take, until its events go into the outbox or are reported lost.
        shutdown_deadline: How long the web process waits for its last flushes when it stops.
        max_pending_events: How many events may wait for the broker in this process.
        store: Brings every part that it has (outbox, inbox, dead letters, lanes, catalogue, journal); a part
            that is given beside it wins, and `None` turns one off.
        outbox: Keeps the events that the broker does not take, for a relay to publish.
        durability: When events are in the outbox: `"flush"`, if the broker refuses them, or `"response"`,
            before the first byte of the response goes out.
        confirm: When the outbox may forget an event: when the broker has confirmed it (`"published"`), or
            when its subscriptions have run (`"handled"`).
        resend_after: With `confirm="handled"`, how long until an event without all its receipts is published
            once more; longer than events usually wait in their queues.
        relay: Whether this process takes events from the outbox, once it has one to do it for.
        inbox: Remembers what subscriptions with `once=True` have completed.
        dead_letters: Keeps what is given up; the engine's own dead-letter queue does if not given.
        lanes: Where events with an ordering key wait for those before them.
        headers_from: Called on the line that dispatches, for headers that the event shall carry, such as a
            request's id; a header that the event has already stays.
        context_from: Called in a worker with an event, for a context manager to run its function in, such as
            one that puts the request's id where logs look for it. A batch, which has many events, has none.
        catalogue: Where its workers announce their functions and find those of the others; that of the store,
            or else the broker's own Redis. With None each worker knows itself only.
        forget_after: How long a function stays in the catalogue none of whose workers has been heard of.
        journal: Where what happens to events is written down, for people.
        journal_payloads: Whether payloads are written there, too.
        redact: Called with an event's name and its payload, JSON-shaped, for what people may see of it in
            logs, the journal and commands; beside fields marked as `Sensitive`, which are always masked.
        encrypt: A pair of functions from bytes to bytes, such as Fernet's `encrypt` and `decrypt`: the values
            of sensitive fields travel and are stored encrypted.
        unmatched: What becomes of an event that nobody listens to: `"report"` logs it, `"keep"` keeps it in
            the dead letters as well, from where a replay finds those who listen by then.
        strict_names: Whether `dispatch()` refuses a name to which nobody listens and for which there is no
            schema; for tests and staging.
        queue_type: Of its queues on RabbitMQ.
        longest_delay: How long a message may wait for its time, at most; the engine and its broker decide if
            not given.

    Raises:
        InvalidSetting: When a setting has a type or a value that it cannot have.
    """

    queue: str = DEFAULT_QUEUE
    routes: Mapping[Any, str] | None = None
    retry: RetryPolicy = RetryPolicy()
    unknown_retry: RetryPolicy = UNKNOWN_RETRY
    max_crashes: int = 3
    source: str = DEFAULT_SOURCE
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    flush_deadline: float = 1.0
    shutdown_deadline: float = 5.0
    max_pending_events: int = 10_000
    store: AnyStore | None = None
    outbox: Outbox | None = FROM_STORE
    durability: Durability = "flush"
    confirm: Confirm = "published"
    resend_after: float = RESEND_AFTER_SECONDS
    relay: bool = True
    inbox: Inbox | None = FROM_STORE
    dead_letters: DeadLetters | None = FROM_STORE
    lanes: Lanes | None = FROM_STORE
    headers_from: HeadersFrom | None = None
    context_from: ContextFrom | None = None
    catalogue: Catalogue | None = FROM_STORE
    forget_after: float = FORGET_AFTER_SECONDS
    journal: Journal | None = FROM_STORE
    journal_payloads: bool = False
    redact: Redact | None = None
    encrypt: Encrypt | None = None
    unmatched: Unmatched = "report"
    strict_names: bool = False
    queue_type: QueueType = "classic"
    longest_delay: float | None = None

    @classmethod
    def of(
        cls, options: TaskQueueOptions, *, asking: str, beside: frozenset[str] = frozenset()
    ) -> TaskQueueSettings:
        """The settings of a handler, from what its constructor was given.

        Parameters:
            asking: The handler's class, in the words of errors.
            beside: What else its constructor takes; an unknown name may be one of these, misspelt.

        Raises:
            InvalidSetting: When there is no setting of a name, or it cannot have its value.
        """
        names = {each.name for each in fields(cls)}
        checks.known_names(options, names | beside, asking=asking)
        try:
            return cls(**cast("dict[str, Any]", options))
        except InvalidSetting as refused:
            raise InvalidSetting(f"{asking}: {refused}") from None

    def __post_init__(self) -> None:
        checks.text("queue", self.queue, such_as=DEFAULT_QUEUE)
        Routes(self.queue, self.routes)
        for name in ("retry", "unknown_retry"):
            checks.instance(name, getattr(self, name), RetryPolicy, such_as="RetryPolicy(max_retries=3)")
        checks.text("source", self.source, such_as=DEFAULT_SOURCE)
        for name in ("max_crashes", "max_payload_bytes", "max_pending_events"):
            checks.whole(name, getattr(self, name), least=1)
        checks.flag("relay", self.relay)
        checks.flag("strict_names", self.strict_names)
        checks.flag("journal_payloads", self.journal_payloads)
        checks.one_of("durability", self.durability, Durability)
        checks.one_of("confirm", self.confirm, Confirm)
        checks.one_of("unmatched", self.unmatched, Unmatched)
        checks.one_of("queue_type", self.queue_type, QueueType)
        self._keep("flush_deadline", checks.seconds("flush_deadline", self.flush_deadline, positive=True))
        self._keep("shutdown_deadline", checks.seconds("shutdown_deadline", self.shutdown_deadline))
        self._keep("forget_after", checks.seconds("forget_after", self.forget_after, positive=True))
        self._keep("resend_after", checks.seconds("resend_after", self.resend_after, positive=True))
        self._keep("longest_delay", checks.seconds_or_none("longest_delay", self.longest_delay))
        checks.callable_or_none("headers_from", self.headers_from)
        checks.callable_or_none("context_from", self.context_from)
        checks.callable_or_none("redact", self.redact)
        _check_pair("encrypt", self.encrypt)
        _check_store(self.store)
        for name, kind in PARTS.items():
            self._keep(name, _part(name, kind, getattr(self, name), self.store))
        for name, value, default in (
            ("durability", self.durability, "flush"), ("confirm", self.confirm, "published"),
        ):  # fmt: skip
            if self.outbox is None and value != default:
                raise InvalidSetting(f"{name}={value!r} needs an outbox: pass store=… with one, or outbox=…")
        if self.journal_payloads and self.journal is None:
            raise InvalidSetting("journal_payloads=True needs a journal: pass store=… with one, or journal=…")
        if self.unmatched == "keep" and self.dead_letters is None:
            raise InvalidSetting(
                "unmatched='keep' needs dead letters: pass store=… with some, or dead_letters=…"
            )

    def _keep(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # frozen, but still being made


def _check_pair(name: str, value: Any) -> None:
    if value is not None and not (
        isinstance(value, tuple) and len(value) == 2 and all(callable(each) for each in value)
    ):
        raise InvalidSetting(
            f"{name}={checks.shown(value)}: expected two functions, such as (fernet.encrypt, fernet.decrypt)."
        )


def _check_store(store: Any) -> None:
    if store is None:
        return
    if isinstance(store, type):
        raise InvalidSetting(f"store={store.__name__}: expected a store, not its class; make one.")
    for name, kind in PARTS.items():
        if isinstance(store, kind):
            raise InvalidSetting(
                f"store={checks.shown(store)}: that is one part of a store; pass it as {name}=, or the whole "
                "store as store=."
            )
    if not any(hasattr(store, name) for name in PARTS):
        raise InvalidSetting(
            f"store={checks.shown(store)}: expected a store, such as SqlStore(…), with some of the parts "
            f"{', '.join(PARTS)}."
        )


def _part(name: str, kind: type[Any], value: Any, store: object) -> Any:
    """The part that a handler uses: the one that it was given, or else the store's."""
    if value is FROM_STORE:
        value = getattr(store, name, None)
    if value is None or isinstance(value, kind):
        return value
    if isinstance(getattr(value, name, None), kind):
        raise InvalidSetting(
            f"{name}={checks.shown(value)}: that is a whole store; pass store=store or {name}=store.{name}."
        )
    found = next((other for other, one in PARTS.items() if isinstance(value, one)), None)
    raise InvalidSetting(
        f"{name}={checks.shown(value)}: "
        + (
            f"that is what {found}= takes."
            if found
            else f"expected {'an' if kind.__name__[0] in 'IO' else 'a'} {kind.__name__}, or None for none."
        )
    )

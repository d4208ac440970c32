"""Many Dramatiq messages with one wait, as Dramatiq itself would have published them."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import dramatiq
import pika
import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import Middleware

from fastapi_events.errors import ConfigurationError, NotPublished
from fastapi_events.handlers.dramatiq import DramatiqHandler, rabbitmq_publisher
from fastapi_events.handlers.dramatiq.rabbitmq_publisher import RabbitmqPublisher
from fastapi_events.handlers.dramatiq.rabbitmq_quorum import QuorumBroker
from fastapi_events.retry import RetryPolicy
from tests.places import dramatiq_on_rabbitmq

pytestmark = pytest.mark.rabbitmq

QUEUE = "rabbitmq-publisher"


class Server:
    """What a test does behind our back."""

    def __init__(self, url: str) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(url))
        self.channel = self._connection.channel()

    def forget(self) -> None:
        for name in (QUEUE, f"{QUEUE}.DQ", f"{QUEUE}.XQ"):
            self.channel.queue_delete(name)

    def got(self, queue: str = QUEUE) -> list[tuple[Any, dramatiq.Message[Any]]]:
        found = []
        while (got := self.channel.basic_get(queue, auto_ack=True))[0] is not None:
            found.append((got[1], dramatiq.Message.decode(got[2])))
        return found

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def server(amqp_url: str) -> Iterator[Server]:
    server = Server(amqp_url)
    server.forget()
    yield server
    server.forget()
    server.close()


@pytest.fixture
def broker(amqp_url: str) -> Iterator[RabbitmqBroker]:
    broker = RabbitmqBroker(url=amqp_url, confirm_delivery=True)
    yield broker
    broker.close()


@pytest.fixture
def publisher(broker: RabbitmqBroker) -> Iterator[RabbitmqPublisher]:
    publisher = RabbitmqPublisher(broker)
    yield publisher
    publisher.close()


def message(*args: Any, queue: str = QUEUE, **options: Any) -> dramatiq.Message[Any]:
    return dramatiq.Message(queue, "work", args, {}, options)


def test_what_we_publish_is_what_dramatiq_publishes(
    broker: RabbitmqBroker, publisher: RabbitmqPublisher, server: Server
) -> None:
    plain, urgent = message("plain"), message("urgent", broker_priority=5)
    for each in (plain, urgent):
        broker.enqueue(each)
    theirs = server.got()
    publisher.publish([(plain, None), (urgent, None)], timeout=5.0)
    ours = server.got()

    assert [each.asdict() for _, each in ours] == [each.asdict() for _, each in theirs]
    assert [vars(properties) for properties, _ in ours] == [vars(properties) for properties, _ in theirs]


def test_a_delayed_message_waits_beside_its_queue(
    broker: RabbitmqBroker, publisher: RabbitmqPublisher, server: Server
) -> None:
    publisher.publish([(message("later"), 60_000)], timeout=5.0)

    [(properties, later)] = server.got(f"{QUEUE}.DQ")
    assert (later.args, later.queue_name) == (("later",), f"{QUEUE}.DQ")
    assert later.options["eta"] - later.message_timestamp == pytest.approx(60_000, abs=5_000)
    assert properties.delivery_mode == 2


def test_the_first_flush_to_a_new_server_declares_its_queues(
    publisher: RabbitmqPublisher, server: Server
) -> None:
    publisher.publish([(message(number), None) for number in range(3)], timeout=5.0)

    assert [each.args for _, each in server.got()] == [(0,), (1,), (2,)]
    for name in (QUEUE, f"{QUEUE}.DQ", f"{QUEUE}.XQ"):
        server.channel.queue_declare(name, passive=True)


def test_a_queue_that_has_been_deleted_is_declared_again(
    publisher: RabbitmqPublisher, server: Server
) -> None:
    publisher.publish([(message("before"), None)], timeout=5.0)
    server.forget()
    publisher.publish([(message("after"), None)], timeout=5.0)

    assert [each.args for _, each in server.got()] == [("after",)]


def test_a_message_that_is_refused_is_an_error_that_names_the_queue(
    publisher: RabbitmqPublisher, server: Server
) -> None:
    full = {"x-max-length": 1, "x-overflow": "reject-publish"}
    server.channel.queue_declare(QUEUE, durable=True, arguments=full)

    with pytest.raises(NotPublished, match=rf"refused 2 of 3 messages, for queue '{QUEUE}'"):
        publisher.publish([(message(number), None) for number in range(3)], timeout=5.0)
    server.got()
    publisher.publish([(message("room again"), None)], timeout=5.0)


def test_a_queue_of_another_kind_is_an_error_that_names_it(
    publisher: RabbitmqPublisher, server: Server
) -> None:
    # There is no queue yet, and its dead letters are something else already.
    server.channel.queue_declare(f"{QUEUE}.XQ", durable=False)

    with pytest.raises(dramatiq.errors.ConnectionClosed, match=f"PRECONDITION_FAILED.*'{QUEUE}.XQ'"):
        publisher.publish([(message("lost"), None)], timeout=5.0)


class Hooks(Middleware):
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        self.calls.append(("before", message.args[0], delay))

    def after_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        self.calls.append(("after", message.args[0], delay))


def test_middleware_is_told_before_all_and_after_all(
    broker: RabbitmqBroker, publisher: RabbitmqPublisher, server: Server
) -> None:
    hooks = Hooks()
    broker.add_middleware(hooks)

    publisher.publish([(message("a"), None), (message("b"), 10)], timeout=5.0)

    assert hooks.calls == [
        ("before", "a", None),
        ("before", "b", 10),
        ("after", "a", None),
        ("after", "b", 10),
    ]


def test_one_connection_is_kept_for_one_thread_and_others_have_their_own(
    publisher: RabbitmqPublisher, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []

    class Counted(rabbitmq_publisher.ConfirmingConnection):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            opened.append(self)

    monkeypatch.setattr(rabbitmq_publisher, "ConfirmingConnection", Counted)
    for number in range(3):
        publisher.publish([(message(number), None)], timeout=5.0)
    assert len(opened) == 1

    together = threading.Barrier(2)

    class Meet(Middleware):
        def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            together.wait(10)

    publisher._broker.add_middleware(Meet())
    threads = [
        threading.Thread(target=publisher.publish, args=([(message(n), None)],), kwargs={"timeout": 5.0})
        for n in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(opened) <= 2  # one may be done before the other begins
    assert len(server.got()) == 5


class Proxy:
    """Between us and RabbitMQ: cuts connections, or lets nothing through."""

    def __init__(self, url: str) -> None:
        self._target = pika.URLParameters(url)
        self._host = urlsplit(url).path  # the virtual one
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.deaf = threading.Event()
        self.sockets: list[socket.socket] = []
        self.accepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}{self._host}"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            self.accepted += 1
            server = socket.create_connection((self._target.host, self._target.port))
            self.sockets += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                if not self.deaf.is_set():
                    sink.sendall(data)
        except OSError:
            pass
        self._end(source, sink)

    def cut(self) -> None:
        self._end(*self.sockets)

    def _end(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for each in self.sockets:
            each.close()


@pytest.fixture
def proxy(amqp_url: str) -> Iterator[Proxy]:
    proxy = Proxy(amqp_url)
    yield proxy
    proxy.close()


@pytest.fixture
def through(proxy: Proxy) -> Iterator[RabbitmqPublisher]:
    broker = RabbitmqBroker(url=proxy.url, confirm_delivery=True)
    publisher = RabbitmqPublisher(broker)
    yield publisher
    publisher.close()
    broker.close()


def test_a_connection_that_was_closed_meanwhile_is_opened_again(
    through: RabbitmqPublisher, proxy: Proxy, server: Server
) -> None:
    through.publish([(message("before"), None)], timeout=5.0)
    proxy.cut()
    through.publish([(message("after"), None)], timeout=5.0)

    assert [each.args for _, each in server.got()] == [("before",), ("after",)]


def test_a_server_that_does_not_answer_costs_the_deadline_and_its_connection(
    through: RabbitmqPublisher, proxy: Proxy, server: Server
) -> None:
    through.publish([(message("before"), None)], timeout=5.0)
    accepted = proxy.accepted
    proxy.deaf.set()
    with pytest.raises(TimeoutError, match=r"did not confirm 1 message in time$"):
        through.publish([(message("swallowed"), None)], timeout=0.2)
    with pytest.raises(TimeoutError, match="did not let us in"):
        through.publish([(message("not let in"), None)], timeout=0.2)
    proxy.deaf.clear()
    through.publish([(message("after"), None)], timeout=5.0)

    assert proxy.accepted == accepted + 2
    assert [each.args for _, each in server.got()] == [("before",), ("after",)]


def test_a_forked_child_has_a_connection_of_its_own(publisher: RabbitmqPublisher, server: Server) -> None:
    publisher.publish([(message("parent"), None)], timeout=5.0)
    child = os.fork()
    if child == 0:
        try:
            publisher.publish([(message("child"), None)], timeout=5.0)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    publisher.publish([(message("parent again"), None)], timeout=5.0)

    assert [each.args for _, each in server.got()] == [("parent",), ("child",), ("parent again",)]


def test_a_broker_whose_enqueue_is_somebodys_own_is_asked_for_each_message(amqp_url: str) -> None:
    class Mine(RabbitmqBroker):
        asked = 0

        def enqueue(self, message: Any, *, delay: int | None = None) -> Any:
            type(self).asked += 1
            return super().enqueue(message, delay=delay)

    with dramatiq_on_rabbitmq(amqp_url, Mine) as place:
        heard: list[Any] = []
        place.handler.register(heard.append, name="work")
        place.dispatch("hello")

    assert len(heard) == 1
    assert Mine.asked == 2


def test_quorum_queues_where_they_are_asked_for(amqp_url: str) -> None:
    with dramatiq_on_rabbitmq(amqp_url, QuorumBroker, queue_type="quorum") as place:
        attempts: list[Any] = []

        @place.handler.register(event_name="hello", name="work", queue="kitchen")
        def work(event: Any) -> None:
            attempts.append(event)
            raise ValueError("never")

        place.dispatch("hello")

        assert len(attempts) == 3
        assert place.reasons("kitchen") == ["ValueError: never"]
        channel = place.broker.connection.channel()
        as_dramatiq_does = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "kitchen.XQ"}
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match=r"x-queue-type.*quorum"):
            channel.queue_declare("kitchen", durable=True, arguments=as_dramatiq_does)


def test_quorum_queues_need_a_broker_that_knows_them(amqp_url: str) -> None:
    from dramatiq.brokers.redis import RedisBroker

    with pytest.raises(ConfigurationError, match="for RabbitMQ, not for a RedisBroker"):
        DramatiqHandler(RedisBroker(), queue_type="quorum")
    with pytest.raises(ConfigurationError, match="QuorumBroker"):
        DramatiqHandler(RabbitmqBroker(url=amqp_url), queue_type="quorum")
    with pytest.raises(ConfigurationError, match="max_priority"):
        DramatiqHandler(QuorumBroker(url=amqp_url, max_priority=5), queue_type="quorum")
    with pytest.raises(ConfigurationError, match="expected 'classic' or 'quorum'"):
        DramatiqHandler(RabbitmqBroker(url=amqp_url), queue_type="lazy")  # type: ignore[arg-type]


def test_nothing_waits_for_longer_than_a_consumer_may_hold_it(amqp_url: str) -> None:
    patient = RetryPolicy(max_backoff=1_000.0)
    with pytest.raises(ConfigurationError, match="consumer_timeout, so that 900 s is the limit"):
        DramatiqHandler(RabbitmqBroker(url=amqp_url), retry=patient)
    handler = DramatiqHandler(RabbitmqBroker(url=amqp_url), retry=patient, longest_delay=3_600.0)
    assert handler.longest_delay == 3_600.0
    assert DramatiqHandler(RabbitmqBroker(url=amqp_url), queue="other").longest_delay == 900.0

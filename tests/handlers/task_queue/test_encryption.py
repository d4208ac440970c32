"""Values of sensitive fields travel encrypted, and only the function gets them as they were."""

from __future__ import annotations

import json
import logging
from typing import Annotated, Any

import pytest
from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import BaseModel, SecretStr

from fastapi_events import redaction
from fastapi_events.dispatcher import dispatch
from fastapi_events.errors import ConfigurationError, InvalidSetting
from fastapi_events.event import Event
from fastapi_events.handlers.task_queue.encryption import Encryption, unlocked
from fastapi_events.scope import collect_events
from fastapi_events.storage.memory import MemoryStore
from fastapi_events.typing import Sensitive
from tests.handlers.task_queue.broker import ListHandler


class Login(BaseModel):
    __event_name__ = "login"
    name: str
    password: SecretStr
    pins: Annotated[list[int], Sensitive] = []


def login() -> Login:
    return Login(name="Tom", password=SecretStr("tuna-fish"), pins=[1234])


def a_fernet() -> Any:
    return Fernet(Fernet.generate_key())


def pair(fernet: Any) -> Any:
    return fernet.encrypt, fernet.decrypt


def dispatched(handler: ListHandler, event: Any) -> None:
    with collect_events([handler], raise_errors=True):
        dispatch(event)


def test_what_travels_is_encrypted_and_the_function_gets_what_was_dispatched() -> None:
    handler = ListHandler(encrypt=pair(a_fernet()))
    got: list[Login] = []
    handler.register(Login)(lambda given: got.append(given))

    dispatched(handler, login())
    [message] = handler.sent
    [sealed] = json.loads(message.argument)
    handler.run()

    assert "tuna-fish" not in message.argument
    assert "1234" not in message.argument.replace(sealed["id"], "").replace(sealed["time"], "")
    assert sealed["data"]["name"] == "Tom"
    assert sealed["encrypted"] == sealed["sensitive"] == "password pins"
    assert got == [login()]


def test_of_a_batch_each_event_is_decrypted() -> None:
    handler = ListHandler(encrypt=pair(a_fernet()))
    got: list[Any] = []

    @handler.register(event_name="login", batch=2, batch_window=0.01)
    def take(events: list[Event]) -> None:
        got.extend(each.payload["password"] for each in events)

    dispatched(handler, login())
    handler.run()

    assert got == ["tuna-fish"]


def test_other_handlers_of_the_scope_get_the_event_as_it_is() -> None:
    one, other = ListHandler(encrypt=pair(a_fernet())), ListHandler(queue="other")

    with collect_events([one, other], raise_errors=True):
        dispatch(login())

    assert "tuna-fish" not in one.sent[0].argument
    assert "tuna-fish" in other.sent[0].argument


def test_the_outbox_holds_it_encrypted() -> None:
    store = MemoryStore()
    handler = ListHandler(encrypt=pair(a_fernet()), store=store, relay=False)
    handler.refusing = ConnectionError("away")

    dispatched(handler, login())

    [entry] = store.outbox.list()
    assert "tuna-fish" not in entry.envelope


def test_keys_rotate() -> None:
    old, new = a_fernet(), a_fernet()
    before, after = ListHandler(encrypt=pair(old)), ListHandler(encrypt=pair(MultiFernet([new, old])))
    got: list[Login] = []
    after.register(Login)(lambda given: got.append(given))

    dispatched(before, login())
    after.sent.append(before.sent.pop())
    after.run()

    assert got == [login()]
    event = Event("login", {}, headers={"encrypted": "password", "sensitive": "password"})
    with pytest.raises(InvalidToken):
        unlocked(event.with_payload({"password": old.encrypt(b"1").decode()}), Encryption(pair(new)))


def test_a_handler_without_the_keys_says_so() -> None:
    event = Event("login", {"password": "x"}, headers={"encrypted": "password"})

    with pytest.raises(
        ConfigurationError, match=r"Event 'login' \(.*\) travels encrypted: pass the encrypt="
    ):
        unlocked(event, None)


def test_what_gives_no_text_is_refused_where_it_is_dispatched() -> None:
    handler = ListHandler(encrypt=(lambda value: b"\xff", lambda value: value))

    with pytest.raises(ConfigurationError, match="has to give bytes that are ASCII text"):
        dispatched(handler, login())


@pytest.mark.parametrize("given", [len, (len,), (len, "key"), [len, len]])
def test_what_is_no_pair_of_functions_is_refused(given: Any) -> None:
    with pytest.raises(InvalidSetting, match="expected two functions, such as"):
        ListHandler(encrypt=given)


def test_an_error_that_names_the_value_is_masked_though_its_message_is_encrypted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    fernet = a_fernet()
    handler = ListHandler(encrypt=pair(fernet))
    [place] = redaction.read("password")
    payload = redaction.replaced(
        {"password": "tuna-fish"}, [place], lambda value: fernet.encrypt(json.dumps(value).encode()).decode()
    )
    event = Event("login", payload, headers={"encrypted": "password", "sensitive": "password"})

    with caplog.at_level(logging.DEBUG):
        assert redaction.scrubbed("bad tuna-fish", [event]) == "bad ***"
    del handler

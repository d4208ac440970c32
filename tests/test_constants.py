"""Names that messages, deployments and other programs rely on."""

from __future__ import annotations

from fastapi_events import constants


def test_the_names_of_variables_and_messages_stay() -> None:
    assert constants.FASTAPI_EVENTS_DISABLE_DISPATCH_ENV_VAR == "FASTAPI_EVENTS_DISABLE_DISPATCH"
    assert constants.FASTAPI_EVENTS_USE_SPAN_LINKING_ENV_VAR == "FASTAPI_EVENTS_USE_SPAN_LINKING"
    assert constants.BROKER_URL_ENV_VAR == "FASTAPI_EVENTS_BROKER_URL"
    assert constants.FAN_OUT == "fastapi_events.fan_out"


def test_a_payload_may_be_as_large_as_a_message_of_sqs() -> None:
    assert constants.MAX_PAYLOAD_BYTES == 256 * 1024

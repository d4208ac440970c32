"""Signals as something to wait for."""

from __future__ import annotations

import os
import select
import signal

import pytest

from fastapi_events.embedded.signals import SignalInbox


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_wakes_up_who_waits_and_is_taken_once(number: signal.Signals) -> None:
    with SignalInbox() as inbox:
        assert inbox.take() == []

        os.kill(os.getpid(), number)

        assert select.select([inbox.fileno()], [], [], 20)[0]
        assert inbox.take() == [number]
        assert inbox.take() == []


def test_signals_are_taken_in_their_order() -> None:
    with SignalInbox() as inbox:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)

        assert inbox.take() == [signal.SIGTERM, signal.SIGINT]


def test_what_was_done_on_signals_before_is_done_again_afterwards() -> None:
    def mine(*_: object) -> None: ...

    before = signal.signal(signal.SIGTERM, mine)
    try:
        with SignalInbox():
            assert signal.getsignal(signal.SIGTERM) is not mine
        assert signal.getsignal(signal.SIGTERM) is mine
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGTERM, before)

"""Waiting for the signals that end a command, with sigwait and without."""

from __future__ import annotations

import signal

import pytest

from peer_relay_socket.cli.stopping import RELOAD, STOP, signals_held


@pytest.mark.parametrize("has_sigwait", [True, False], ids=["sigwait", "as on Windows"])
def test_signals_are_held_back_until_they_are_waited_for(monkeypatch: pytest.MonkeyPatch, has_sigwait: bool) -> None:
    before = {number: signal.getsignal(number) for number in STOP}
    if not has_sigwait:
        monkeypatch.delattr(signal, "pthread_sigmask")
    with signals_held(*STOP, *RELOAD) as next_signal:
        signal.raise_signal(signal.SIGHUP)
        assert next_signal() == signal.SIGHUP
        signal.raise_signal(signal.SIGTERM)
        assert next_signal() == signal.SIGTERM
    assert {number: signal.getsignal(number) for number in STOP} == before

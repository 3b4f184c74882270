"""The `peer-relay` command called as a function: what it would print and return, without the start of a process."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peer_relay_socket.cli.main import main


@pytest.fixture
def called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Call `peer-relay` with arguments in `tmp_path`, with no settings in the environment but those given.

    Returns: exit status, what went to standard output, and what to standard error.

    Not for `run`, which changes the process that it is called in.
    """
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("peer_relay")  # ping and doctor turn it off, and node may write it as JSON
    before = logger.level, logger.propagate, list(logger.handlers)
    for name in [name for name in os.environ if name.startswith("PEER_RELAY_")]:
        monkeypatch.delenv(name)

    def call(*arguments: str, **environment: str) -> tuple[int, str, str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        try:
            status = main(arguments)
        except SystemExit as end:
            status = int(end.code or 0)
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    yield call
    logger.setLevel(before[0])
    logger.propagate, logger.handlers = before[1:]

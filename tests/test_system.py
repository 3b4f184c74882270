"""What stands for names that a system, or a build of Python, has not."""

from __future__ import annotations

import select

from peer_relay_socket.system import without_gil


def test_links_are_read_by_the_relay_thread_alone_where_there_is_no_gil() -> None:
    assert without_gil(select, True) is select
    less = without_gil(select, False)
    assert not [name for name in vars(less) if "epoll" in name.lower()]
    assert less.select is select.select

"""A program whose first act is to send much: nothing of it is lost while its network starts and its peer is looked for.

No oracle: the kernel, whose receive buffers hold 208 KiB, loses most of this.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.programs.program_hosts import READY, SCRIPTS, HostKey, RelayNetwork

pytestmark = pytest.mark.slow
MANY = 8000


@pytest.mark.parametrize("size", [20, 100])
def test_first_sends_to_a_peer_that_is_up_all_arrive(
    size: int, tmp_path: Path, host_keys: Callable[[str], HostKey]
) -> None:
    with RelayNetwork("ip", tmp_path, host_keys) as network:
        receiver = network.start("receiver", SCRIPTS / "count.py", 9000, MANY, ready=READY)
        sender = network.start("sender", SCRIPTS / "many_first.py", network.address("receiver"), 9000, MANY, size)
        network.finish(sender, "^SENT$")
        network.finish(receiver, f"^{MANY} of {MANY}$")


def test_first_sends_to_a_peer_that_comes_up_meanwhile_all_arrive(
    tmp_path: Path, host_keys: Callable[[str], HostKey]
) -> None:
    with RelayNetwork("ip", tmp_path, host_keys) as network:
        sender = network.start("sender", SCRIPTS / "many_first.py", network.address("receiver"), 9000, MANY, 100)
        receiver = network.start("receiver", SCRIPTS / "count.py", 9000, MANY, ready=READY)
        network.finish(sender, "^SENT$")
        network.finish(receiver, f"^{MANY} of {MANY}$")

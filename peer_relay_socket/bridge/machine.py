"""The machine secret: what the programs of one machine share, and no program elsewhere knows.

Lives here: where the secret comes from. May not live here: what it proves (engine).

Law: the secret never leaves this machine; what is shown to other peers is made from it and an id.
"""

from __future__ import annotations

from ..originals import os
from ..system import O_CLOEXEC


def machine_secret() -> bytes | None:
    """Return the machine secret, or None where the system has none.

    On Linux: the random id of this boot, and the network namespace, so that the loopback addresses of two containers
    are not taken for one machine's.
    """
    try:
        fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | O_CLOEXEC)
        try:
            boot = os.read(fd, 64)
        finally:
            os.close(fd)
        return boot.strip() + b" " + os.readlink(b"/proc/self/ns/net") if len(boot) > 30 else None
    except OSError:
        return None

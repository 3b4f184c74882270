"""Run by every Python that a program under `peer-relay run` starts (subprocess, multiprocessing's "spawn" and
"forkserver"), before anything of its own: its UDP sockets are the relay network's, too.

Lives in a directory of its own, which `runner` puts first in PYTHONPATH. Law: whatever is wrong with our package in
that interpreter, the program starts; it also gets the sitecustomize that this one hides.
"""

import os
import sys

_here = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [_path for _path in sys.path if os.path.abspath(_path or ".") != _here]
_this = sys.modules.pop("sitecustomize")
try:
    import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
except ImportError:
    sys.modules["sitecustomize"] = _this
try:
    from peer_relay.runner import join_as_child
except ImportError:  # another interpreter, which our package is not installed in
    pass
else:
    join_as_child()

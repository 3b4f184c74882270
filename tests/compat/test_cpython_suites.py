"""CPython's own tests, as they ship with the running interpreter, with our class in place of `socket.socket`.

What fails here must fail on the kernel's sockets too, or stand in `DEVIATIONS` with its reason. `pytest -rP` shows, for
each class, how many passed of how many run.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.processes import environment

PROGRAM = str(Path(__file__).with_name("cpython_suite.py"))

UDP = [
    *("BasicUDPTest", "UDPTimeoutTest", "InterruptedRecvTimeoutTest", "SendmsgUDPTest", "SendmsgUDP6Test"),
    *("RecvmsgUDPTest", "RecvmsgUDP6Test", "RecvmsgIntoUDPTest", "RecvmsgIntoUDP6Test"),
    *("RecvmsgRFC3542AncillaryUDP6Test", "RecvmsgIntoRFC3542AncillaryUDP6Test"),
]
OTHER = [
    *("GeneralModuleTests", "TestExceptions", "InheritanceTest", "NonblockConstantTest", "ContextManagersTest"),
    *("BasicTCPTest", "BasicTCPTest2", "TCPCloserTest", "TCPTimeoutTest", "NonBlockingTCPTests", "BufferIOTest"),
    *("SendmsgTCPTest", "RecvmsgTCPTest", "RecvmsgIntoTCPTest", "CreateServerTest", "CreateServerFunctionalTest"),
    *("FileObjectClassTestCase", "UnbufferedFileObjectClassTestCase", "LineBufferedFileObjectClassTestCase"),
    *("SmallBufferedFileObjectClassTestCase", "UnicodeReadWriteFileObjectClassTestCase", "BasicSocketPairTest"),
    *("NetworkConnectionNoServer", "NetworkConnectionAttributesTest", "NetworkConnectionBehaviourTest"),
    *("TestUnixDomain", "TestLinuxAbstractNamespace", "SendmsgUnixStreamTest", "RecvmsgSCMRightsStreamTest"),
    *("SendfileUsingSendTest", "SendfileUsingSendfileTest", "SendRecvFdsTests"),
]
SUITES = {
    "socket, UDP": [f"test.test_socket.{name}" for name in UDP],
    "socket, the rest": [f"test.test_socket.{name}" for name in OTHER],
    "socketserver": ["test.test_socketserver"],
    "asyncio": ["test.test_asyncio.test_events", "test.test_asyncio.test_sock_lowlevel"],
    "logging": [f"test.test_logging.{name}Test" for name in ("DatagramHandler", "IPv6SysLogHandler", "SysLogHandler")],
    "selectors": ["test.test_selectors"],
}
DEVIATIONS: dict[str, str] = {}


def run(command: list[str], names: list[str]) -> dict[str, str]:
    done = subprocess.run(
        [*command, PROGRAM, *names],
        env=environment(PEER_RELAY_PORT="0"),  # a peer of its own, linked to nobody
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    outcomes: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize("names", SUITES.values(), ids=SUITES)
def test_cpythons_own_tests_pass_with_our_class(names: list[str]) -> None:
    outcomes = run([sys.executable, "-m", "peer_relay", "run"], names)
    ran = {test: outcome for test, outcome in outcomes.items() if not outcome.startswith("skipped")}
    failed = [test for test, outcome in ran.items() if outcome != "ok" and test.rpartition(".")[2] not in DEVIATIONS]
    for kind, count in Counter(test.rpartition(".")[0] for test in ran).items():
        passed = sum(outcome == "ok" for test, outcome in ran.items() if test.rpartition(".")[0] == kind)
        print(f"{kind}: {passed} of {count}")
    natively = run([sys.executable], failed) if failed else {}
    ours_alone = {test: ran[test] for test in failed if natively[test] == "ok"}
    assert ran
    assert not ours_alone, "\n".join(ours_alone.values())
    stale = [test for test, outcome in ran.items() if outcome == "ok" and test.rpartition(".")[2] in DEVIATIONS]
    assert not stale, "no longer a deviation"

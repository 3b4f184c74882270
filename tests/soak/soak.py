"""Real peers on real sockets for a while: they come, leave and are killed, and datagrams go between random pairs.

Lives here: what is done to them and what is counted. May not live here: the peers (worker.py, a process for every
few), printing (__main__.py).

Law: a datagram counts as sent only if both ends had been linked for SETTLED seconds, and lived for PATIENCE more.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

SETTLED = 5.0
PATIENCE = 5.0
_BOOTSTRAPS = 3
_RELAY_EVERY = 5
_THREAD_FDS = 7
"""What the relay thread's loop holds while there is no peer: asyncio's selector and the pair that wakes it, the links'
poll set, the set of both, and the bell of who waits for links instead; and the socket at which `peer-relay status`
asks."""
_END = 45.0
_LIMIT = 90.0
"""Seconds anything may take to come about on a machine with other work."""


@dataclass
class Plan:
    """What is asked for."""

    peers: int = 300
    processes: int = 15
    seconds: float = 600.0
    seed: int = 1
    rate: float = 30.0
    """Datagrams a second."""
    replace_every: float = 2.0
    """Seconds between one peer leaving and a new one coming in its place."""
    ramp: float = 60.0
    """Seconds within which all join."""
    kill_every: float = 60.0
    """Seconds between SIGKILLs of a whole process; another takes its place."""


@dataclass
class Usage:
    """What the processes hold."""

    fds: int = 0
    threads: int = 0
    kilobytes: int = 0
    peers: int = 0


@dataclass
class Member:
    """A peer as this side knows it."""

    name: str
    relay: bool
    started_at: float
    names: list[str] = field(default_factory=list)
    url: str | None = None
    up_at: float | None = None
    ended_at: float | None = None
    reached_at: float | None = None


@dataclass
class Sent:
    """One datagram."""

    sender: Member
    receiver: Member
    at: float
    knock: bool
    """Sent to find out when a newcomer is reached; not counted as traffic."""
    arrived_at: float | None = None


@dataclass
class Outcome:
    """What came of it."""

    sent: int = 0
    delivered: int = 0
    misdelivered: int = 0
    delays: list[float] = field(default_factory=list)
    left: int = 0
    killed: int = 0
    reached: list[float] = field(default_factory=list)
    """Seconds from a newcomer's start to its first datagram; of those that lived long enough."""
    unreached: int = 0
    recovered: list[float] = field(default_factory=list)
    """Seconds from a kill to the last loss after it, within half of `kill_every`."""
    before: Usage = field(default_factory=Usage)
    middle: Usage = field(default_factory=Usage)
    after: Usage = field(default_factory=Usage)
    """Of the processes that were never killed: when all peers had joined, half way, and at the end."""
    emptied: Usage = field(default_factory=Usage)
    fresh: Usage = field(default_factory=Usage)
    """Of the same, with all peers closed; and before the first of them began."""
    survivors: int = 0
    stuck: int = 0
    """Processes that did not end within _END seconds of being told to."""
    errors: int = 0
    late: int = 0
    """Peers that could not listen within START_TIME, so busy was the machine; others were started instead."""

    @property
    def leaked(self) -> bool:
        """Whether closed peers left anything but the relay thread, which stays for the next one."""
        fds, threads = self.emptied.fds - self.fresh.fds, self.emptied.threads - self.fresh.threads
        return fds > _THREAD_FDS or threads > 1

    @property
    def share(self) -> float:
        """Delivered per sent."""
        return self.delivered / max(1, self.sent)


class Process:
    """A worker, and its peers."""

    def __init__(self, soak: Soak) -> None:
        self.soak = soak
        self.members: dict[str, Member] = {}
        self.usage: asyncio.Future[Usage] | None = None

    async def spawn(self) -> None:
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.soak.worker",
            stdin=pipe,
            stdout=pipe,
            cwd=Path(__file__).parents[2],
            # Killed bootstrap nodes are no news.
            env={**os.environ, "PEER_RELAY_LOG": "error", "XDG_STATE_HOME": str(self.soak.state)},
        )
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            event = json.loads(line)
            kind = event.pop("event")
            if kind == "usage":
                if self.usage is not None and not self.usage.done():
                    self.usage.set_result(Usage(**event))
            else:
                self.soak.heard(self, kind, **event)

    def tell(self, do: str, **command: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **command}).encode() + b"\n")

    async def ask_usage(self) -> Usage:
        self.usage = asyncio.get_running_loop().create_future()
        self.tell("usage")
        return await asyncio.wait_for(self.usage, _LIMIT)

    async def end(self) -> None:
        """Let it end by itself; if it does not, kill it and say so."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), _END)
        except TimeoutError:
            self.soak.outcome.stuck += 1
            self.process.kill()
            await self.process.wait()
        await self.reader

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()
        await self.reader


class Soak:
    """The whole run."""

    def __init__(self, plan: Plan, state: Path) -> None:
        """Args: state: a folder for what the peers keep on disk; the caller removes it."""
        self.plan = plan
        self.state = state
        self.random = Random(plan.seed)
        self.outcome = Outcome()
        self.processes: list[Process] = []
        self.bootstrap: list[str] = []
        self._made = 0
        self._sent: list[Sent] = []
        self._kills: list[float] = []
        self._background: set[asyncio.Task[None]] = set()

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    # --- members ---------------------------------------------------------------------------------------------

    def add(self, process: Process) -> Member:
        """Start a peer."""
        member = Member(f"m{self._made}", self._made % _RELAY_EVERY == 0, self.now)
        self._made += 1
        process.members[member.name] = member
        process.tell("start", name=member.name, relay=member.relay, bootstrap=self.bootstrap[:_BOOTSTRAPS])
        return member

    def heard(self, process: Process, kind: str, **event: Any) -> None:
        """A worker told something."""
        if kind == "error":
            self.outcome.errors += 1
            return
        member = process.members.get(event["name"])
        if member is None:
            return
        if kind == "late":
            self.outcome.late += 1
            member.ended_at = self.now
            del process.members[member.name]
            self.add(process)
            return
        if kind == "up":
            member.names, member.url = event["names"], event["url"]
            member.up_at = self.now
        elif kind == "got":
            sent = self._sent[event["number"]]
            if sent.receiver is not member or event["source"] not in sent.sender.names:
                self.outcome.misdelivered += 1
            elif sent.arrived_at is None:
                sent.arrived_at = self.now
                if member.reached_at is None:
                    member.reached_at = self.now

    def members(self, settled: float) -> list[tuple[Process, Member]]:
        """Return those linked for so many seconds."""
        latest = self.now - settled
        pairs = [(process, member) for process in self.processes for member in process.members.values()]
        return [pair for pair in pairs if pair[1].up_at is not None and pair[1].up_at <= latest]

    def send(self, process: Process, sender: Member, receiver: Member, knock: bool = False) -> None:
        """Send one datagram, by each kind of name in turn."""
        number = len(self._sent)
        self._sent.append(Sent(sender, receiver, self.now, knock))
        process.tell("send", name=sender.name, to=receiver.names[number % 2], number=number)

    # --- the run ---------------------------------------------------------------------------------------------

    async def run(self) -> Outcome:
        """Do it all."""
        plan = self.plan
        self.processes = [Process(self) for _ in range(plan.processes)]
        await asyncio.gather(*(process.spawn() for process in self.processes))
        stable = self.processes[0]
        try:
            self.outcome.fresh = await stable.ask_usage()
            for _ in range(_BOOTSTRAPS):
                self._made = -(-self._made // _RELAY_EVERY) * _RELAY_EVERY  # the next that relays
                member = self.add(stable)
                await self._until(lambda member=member: member.url is not None)  # type: ignore[misc]
                assert member.url is not None
                self.bootstrap.append(member.url)
            for number in range(_BOOTSTRAPS, plan.peers):
                self.add(self.processes[number % plan.processes])
                await asyncio.sleep(plan.ramp / plan.peers)
            await self._until(lambda: len(self.members(SETTLED)) == plan.peers)
            self.outcome.before = await stable.ask_usage()
            begin = self.now
            await self._disturb(begin + plan.seconds / 2)
            self.outcome.middle = await stable.ask_usage()
            await self._disturb(begin + plan.seconds)
            await asyncio.sleep(PATIENCE)
            self.outcome.after = await stable.ask_usage()
            self._judge()
            for name in list(stable.members):
                stable.tell("stop", name=name)
            stable.members.clear()
            await self._until_emptied(stable)
        finally:
            for task in self._background:
                task.cancel()
            await asyncio.gather(*(process.end() for process in self.processes))
        return self.outcome

    async def _until(self, condition: Any) -> None:
        limit = self.now + _LIMIT
        while not condition():
            assert self.now < limit, "it did not come about"
            await asyncio.sleep(0.05)

    async def _until_emptied(self, process: Process) -> None:
        """Closed peers say goodbye and take their time; then nothing of theirs may be left."""
        limit = self.now + _LIMIT
        while True:
            self.outcome.emptied = await process.ask_usage()
            if not self.outcome.leaked or self.now > limit:
                return
            await asyncio.sleep(0.5)

    async def _disturb(self, until: float) -> None:
        plan = self.plan
        replace_at = self.now + plan.replace_every
        kill_at = self.now + plan.kill_every / 2
        while self.now < until:
            candidates = self.members(SETTLED)
            if len(candidates) > 1:
                (process, sender), (_, receiver) = self.random.sample(candidates, 2)
                self.send(process, sender, receiver)
            if self.now >= replace_at:
                replace_at += plan.replace_every
                self._replace()
            if self.now >= kill_at:
                kill_at += plan.kill_every
                await self._kill()
            await asyncio.sleep(1.0 / plan.rate)

    def _replace(self) -> None:
        process = self.random.choice(self.processes)
        old = [member for member in process.members.values() if member.url not in self.bootstrap]
        if not old:
            return
        member = self.random.choice(old)
        member.ended_at = self.now
        del process.members[member.name]
        process.tell("stop", name=member.name)
        self.outcome.left += 1
        self._spawn(self._knock(process, self.add(process)))

    async def _knock(self, process: Process, member: Member) -> None:
        """Send to a newcomer from random peers until it is reached."""
        limit = self.now + 30.0
        while member.reached_at is None and member.ended_at is None and self.now < limit:
            candidates = [pair for pair in self.members(SETTLED) if pair[1] is not member]
            if member.up_at is not None and candidates:
                process, sender = self.random.choice(candidates)
                self.send(process, sender, member, knock=True)
            await asyncio.sleep(0.2)
        if member.reached_at is not None:
            self.outcome.reached.append(member.reached_at - member.started_at)
        elif member.ended_at is None:
            self.outcome.unreached += 1

    async def _kill(self) -> None:
        at = self.random.randrange(1, len(self.processes))
        old = self.processes[at]
        for member in old.members.values():
            member.ended_at = self.now
        self._kills.append(self.now)
        self.outcome.killed += len(old.members)
        count = len(old.members)
        fresh = self.processes[at] = Process(self)
        await asyncio.gather(old.kill(), fresh.spawn())
        self._spawn(self._fill(fresh, count))

    async def _fill(self, process: Process, count: int) -> None:
        for _ in range(count):
            if process not in self.processes or process.process.returncode is not None:
                return
            self._spawn(self._knock(process, self.add(process)))
            await asyncio.sleep(0.05)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # --- judging ---------------------------------------------------------------------------------------------

    def _judge(self) -> None:
        outcome = self.outcome
        fair = [
            sent
            for sent in self._sent
            if not sent.knock
            and all(end.ended_at is None or end.ended_at > sent.at + PATIENCE for end in (sent.sender, sent.receiver))
        ]
        outcome.sent = len(fair)
        outcome.delays = sorted(sent.arrived_at - sent.at for sent in fair if sent.arrived_at is not None)
        outcome.delivered = len(outcome.delays)
        outcome.reached.sort()
        window = self.plan.kill_every / 2
        for kill in self._kills:
            lost = [s.at - kill for s in fair if s.arrived_at is None and kill - PATIENCE <= s.at <= kill + window]
            outcome.recovered.append(max(0.0, max(lost, default=0.0)))
        outcome.survivors = sum(1 for process in self.processes if process.process.returncode is None)

"""Drives the example `cluster_chat`: three nodes behind the real HAProxy, with the real Redis between them.

With `--measure` it measures what a delivery costs instead, with the programs of a release build.
"""

import argparse
import asyncio
import collections
import contextlib
import itertools
import os
import random
import re
import resource
import shutil
import signal
import socket
import tempfile
import time

from programs import DEADLINE, EXAMPLES, Server, example

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/sbin")
CONFIGURATION = "examples/protocols/cluster_chat/haproxy.cfg"
NODES = ["one", "two", "three"]
NULL = asyncio.subprocess.DEVNULL


# Ports that the system gives to nobody, because a program has to come back to its own.
PORTS = iter(random.sample(range(20000, 32000), 1000))


def fixed_port():
    for port in PORTS:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


async def until(what, condition, seconds=DEADLINE):
    """Waits until a condition is true."""
    for _ in range(round(100 * seconds)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"not within {seconds} s: {what}")


class Process:
    """A program that is killed if the test fails."""

    process = None

    async def start(self, *command):
        self.process = await asyncio.create_subprocess_exec(*command, stdout=NULL)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        if self.process and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()


class Redis(Process):
    def __init__(self, folder):
        self.folder, self.port = folder, fixed_port()

    async def run(self):
        """Starts Redis, and returns when it answers."""
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder]
        await self.start("redis-server", *options)
        for _ in range(100 * DEADLINE):
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
                continue
            writer.write(b"PING\r\n")
            assert await asyncio.wait_for(reader.readline(), DEADLINE) == b"+PONG\r\n"
            writer.close()
            return
        raise AssertionError("Redis does not start")


class Tap:
    """A subscriber of its own, which sees the lines in the order of Redis."""

    def __init__(self, redis):
        self.redis, self.lines = redis, []

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.redis.port)
        self.writer.write(b"SUBSCRIBE chat\r\n")
        assert await self.message() == [b"subscribe", b"chat", b"1"]
        self.task = asyncio.create_task(self.read())
        return self

    async def message(self):
        assert await self.reader.readline() == b"*3\r\n", "Redis ends"
        words = []
        for _ in range(3):
            head = await self.reader.readline()
            word = head[1:-2]
            if head.startswith(b"$"):
                word = (await self.reader.readexactly(int(head[1:]) + 2))[:-2]
            words.append(word)
        return words

    async def read(self):
        while True:
            _, _, line = await self.message()
            if is_said(line.decode()):
                self.lines.append(line.decode())

    async def __aexit__(self, *_):
        self.task.cancel()
        self.writer.close()
        # It ends with Redis.
        await asyncio.gather(self.task, return_exceptions=True)


class Balancer(Process):
    """HAProxy with the configuration of the example, but on other ports."""

    def __init__(self, folder):
        self.folder, self.front = folder, fixed_port()

    async def run(self, nodes):
        with open(CONFIGURATION) as file:
            text = file.read()
        changes = [("bind :8000", f"bind 127.0.0.1:{self.front}")]
        changes.append(("global\n", f"global\n    stats socket {self.folder}/stats\n"))
        for number, node in enumerate(nodes, 1):
            changes.append((f":800{number} agent-port 900{number}", f":{node.port} agent-port {node.agent}"))
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        self.names = [node.name for node in nodes]
        text = "".join(line for line in text.splitlines(True) if not re.search(r":800\d agent", line))
        path = os.path.join(self.folder, "haproxy.cfg")
        with open(path, "w") as file:
            file.write(text)
        await self.start(HAPROXY, "-db", "-q", "-f", path)
        socket_path = f"{self.folder}/stats"
        await until("HAProxy runs", lambda: self.process.returncode is not None or os.path.exists(socket_path))
        assert self.process.returncode is None, f"HAProxy ends with {self.process.returncode}"

    def states(self):
        """The states of the nodes: the result of the check and of the agent."""
        with socket.socket(socket.AF_UNIX) as stats:
            stats.settimeout(DEADLINE)
            stats.connect(f"{self.folder}/stats")
            stats.sendall(b"show stat\n")
            text = b""
            while part := stats.recv(65536):
                text += part
        names, *rows = text.decode().lstrip("# ").splitlines()
        rows = [dict(zip(names.split(","), row.split(","))) for row in rows if row]
        return {row["svname"]: row["status"] for row in rows
                if row["status"] != "UP" or row["check_status"] == row["agent_status"] == "L7OK"}

    async def all_up(self):
        await until("HAProxy finds all nodes", lambda: {self.states().get(name) for name in self.names} == {"UP"})


class Node(Server):
    """A node on ports of its own, which it has again after a restart."""

    def __init__(self, name, redis, program, log):
        self.name, self.chat, self.agent = name, fixed_port(), fixed_port()
        addresses = [f"127.0.0.1:{port}" for port in (self.chat, self.agent, redis.port)]
        self.redis = redis
        super().__init__(program, *addresses, log=log)

    async def find_port(self):
        try:
            return await super().find_port()
        except AssertionError as error:
            raise AssertionError((await self.process.stderr.read()).decode()) from error

    async def end(self):
        """Waits for the end, and returns the log. Only Redis may be the subject of a warning."""
        status, log = await super().end()
        troubles = [line for line in log.splitlines() if re.match(r"\[(WARN|ERROR)", line)]
        troubles = [line for line in troubles if f":{self.redis.port}" not in line]
        assert status == 0 and not troubles, (status, log)
        return log


def is_said(line):
    return re.fullmatch(r"\w+: \d+", line)


class Member:
    """A client of the chat. It moves if its node says so, and notes what it sees."""

    numbers = itertools.count()

    def __init__(self, front, name=None, moves=True):
        self.front, self.moves, self.name = front, moves, name or f"m{next(Member.numbers)}"
        # What was seen in one connection without a gap.
        self.pieces, self.notes, self.fates = [], [], collections.Counter()
        self.said, self.waiting = None, None

    async def connect(self):
        self.reader, self.writer = await asyncio.wait_for(
            asyncio.open_connection("127.0.0.1", self.front), DEADLINE)
        greeting = (await asyncio.wait_for(self.reader.readline(), DEADLINE)).decode()
        found = re.fullmatch(r"You are (\S+) on tcp 127\.0\.0\.1:(\d+)\. Your nickname\?\n", greeting)
        own = "{}:{}".format(*self.writer.get_extra_info("sockname"))
        if not found:
            raise ConnectionResetError(f"{greeting!r} instead of a greeting")
        assert found[1] == own, f"{own} is told {greeting}"
        self.node, self.ended, self.must_move, self.rest = int(found[2]), False, False, b""
        self.pieces.append([])
        self.task = asyncio.create_task(self.read())
        self.writer.write(f"{self.name}\n".encode())
        await until("it has come", lambda: self.ended or f"* {self.name} has come" in self.notes)
        if self.ended:
            raise ConnectionResetError("the end instead of the own arrival")
        self.notes.remove(f"* {self.name} has come")
        return self

    async def read(self):
        try:
            while part := await self.reader.read(65536):
                *lines, self.rest = (self.rest + part).split(b"\n")
                for line in lines:
                    self.see(line.decode())
        except ConnectionResetError:
            pass
        self.ended = True
        self.resolve("ended")

    def see(self, line):
        if is_said(line):
            self.pieces[-1].append(line)
            if line == self.said:
                self.resolve("echoed")
            return
        if line == "* this node will stop, please connect again":
            self.must_move = True
        elif line.startswith("* connected with all nodes"):
            self.pieces.append([])
        elif self.said and line.startswith(("* not sent", "* perhaps not sent")):
            assert line.endswith(f": {self.said}"), (line, self.said)
            self.resolve("not sent" if line.startswith("* not") else "perhaps")
        if not re.fullmatch(r"\* \w+ has (come|left)", line) or self.name in line:
            self.notes.append(line)

    def resolve(self, fate):
        if self.waiting and not self.waiting.done():
            self.waiting.set_result(fate)

    async def say(self):
        """Says a line, and returns what has become of it."""
        self.waiting = asyncio.get_running_loop().create_future()
        self.said = f"{self.name}: {next(Member.numbers)}"
        if self.ended:
            return "ended"
        self.writer.write(f"{self.said.partition(': ')[2]}\n".encode())
        fate = await asyncio.wait_for(self.waiting, DEADLINE)
        self.fates[fate] += 1
        self.said = None
        return fate

    async def leave(self):
        self.writer.close()
        self.task.cancel()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def talk(self, stopping, pause):
        """Talks until it should stop, and connects to another node if its own asks for that."""
        while not stopping.is_set():
            if self.must_move and self.moves:
                await self.leave()
                await self.connect()
            if await self.say() == "ended":
                return
            await asyncio.sleep(pause)


async def connected(front, count):
    return await asyncio.gather(*(Member(front).connect() for _ in range(count)))


def noted(members, text):
    return all(any(note.startswith(text) for note in member.notes) for member in members)


def forget(members):
    for member in members:
        member.notes.clear()


async def conversation(members, tap, rounds):
    """All talk at once. Then all have seen the same, once and in one order: what Redis has passed on."""
    fates = collections.Counter()

    async def talk(member):
        for _ in range(rounds):
            fates[await member.say()] += 1

    await asyncio.gather(*map(talk, members))
    assert fates == {"echoed": rounds * len(members)}, fates
    await seen_by_all(members, tap)


async def seen_by_all(members, tap, leavers=()):
    """The last line of Redis comes to everybody, and nobody misses a line before it."""
    assert await members[0].say() == "echoed"
    await until("Redis has passed on the last line", lambda: tap.lines and tap.lines[-1].startswith(members[0].name))
    last = tap.lines[-1]
    await until("all see the last line", lambda: all(last in member.pieces[-1][-1:] for member in members))
    places = {line: place for place, line in enumerate(tap.lines)}
    assert len(places) == len(tap.lines), "Redis has passed a line on twice"
    count = 0
    for member in [*members, *leavers]:
        for piece in member.pieces:
            # Pieces of the time before belong to another tap.
            if piece and piece[-1] in places:
                first = places.get(piece[0])
                assert first is not None and piece == tap.lines[first:first + len(piece)], (
                    f"{member.name} has seen {len(piece)} lines, which are not those from {first} on")
                count += len(piece)
    return count


async def begin(stack, folder, names, program, log):
    """Starts Redis, the nodes and HAProxy."""
    redis = await stack.enter_async_context(Redis(folder))
    await redis.run()
    nodes = [await stack.enter_async_context(Node(name, redis, program, log)) for name in names]
    balancer = await stack.enter_async_context(Balancer(folder))
    await balancer.run(nodes)
    await balancer.all_up()
    return redis, nodes, balancer


async def one_chat(balancer, redis):
    """Twelve clients on three nodes are one chat, and each node knows their own addresses."""
    members = await connected(balancer.front, 12)
    by_node = collections.Counter(member.node for member in members)
    assert sorted(by_node.values()) == [4, 4, 4], by_node
    async with Tap(redis) as tap:
        await conversation(members, tap, 20)
        assert all(member.pieces[-1] == tap.lines for member in members)
        print(f"  12 clients on 3 nodes: {len(tap.lines)} lines, each seen once by all, in one order")
    return members


async def killed_node(balancer, redis, nodes, members):
    """Only the clients of a killed node see the end. They come back elsewhere, through the same port."""
    node = nodes[1]
    async with Tap(redis) as tap:
        for member in members:
            member.pieces.append([])
        node.process.kill()
        await node.process.wait()
        victims = [member for member in members if member.node == node.port]
        await until("the clients of the node see the end", lambda: all(member.ended for member in victims))
        await asyncio.gather(*(member.connect() for member in victims))
        others = [member for member in members if member not in victims]
        await conversation(members, tap, 10)
        assert len(victims) == 4 and not any(member.ended for member in members)
        assert all(member.node != node.port for member in victims)
        assert all(member.pieces[-1] == tap.lines for member in others), "a client of another node has lost a line"
        print("  a killed node: its 4 clients came back elsewhere, the other 8 missed nothing")
    await node.__aenter__()
    await balancer.all_up()


async def killed_redis(balancer, redis, members, away):
    """Everybody stays connected without Redis, is told, and the chat goes on within 2 s of its return."""
    forget(members)
    redis.process.kill()
    await redis.process.wait()
    await until("all are told", lambda: noted(members, "* no connection"))
    fates = await asyncio.gather(*(member.say() for member in members))
    assert set(fates) == {"not sent"}, fates
    # The delay between two attempts grows.
    await asyncio.sleep(away)
    await redis.run()
    start = time.monotonic()
    await until("the nodes are back", lambda: noted(members, "* connected with all nodes"))
    took = time.monotonic() - start
    async with Tap(redis) as tap:
        await conversation(members, tap, 5)
    assert took < 2, f"{took:.1f} s"
    assert not any(member.ended for member in members)
    print(f"  Redis was away for {away:g} s: all stayed, were told, and talked again {took:.2f} s after its return")


async def frozen_redis(redis, members):
    """The heartbeat notices a Redis that is connected but does not answer."""
    forget(members)
    async with Tap(redis) as tap:
        redis.process.send_signal(signal.SIGSTOP)
        start = time.monotonic()
        # This line waits for an answer.
        fates = await asyncio.gather(*(member.say() for member in members))
        assert set(fates) == {"perhaps"}, fates
        await until("all are told", lambda: noted(members, "* no connection"))
        took = time.monotonic() - start
        fates = await asyncio.gather(*(member.say() for member in members))
        assert set(fates) == {"not sent"}, fates
        redis.process.send_signal(signal.SIGCONT)
        await until("the nodes are back", lambda: noted(members, "* connected with all nodes"))
        await conversation(members, tap, 5)
    assert not any(member.ended for member in members)
    print(f"  Redis was frozen: noticed after {took:.1f} s, and the chat goes on")


class Load:
    """Fifty clients that talk, and newcomers all the time. It counts those that fail."""

    def __init__(self, front):
        self.front, self.failed, self.newcomers, self.left = front, [], 0, []
        self.stopping = asyncio.Event()

    async def __aenter__(self):
        self.members = await connected(self.front, 50)
        self.tasks = [asyncio.create_task(member.talk(self.stopping, 0.3)) for member in self.members]
        self.tasks += [asyncio.create_task(self.come_and_go()) for _ in range(4)]
        return self

    async def come_and_go(self):
        while not self.stopping.is_set():
            member = Member(self.front)
            try:
                await member.connect()
                fate = await member.say()
                if fate != "echoed":
                    self.failed.append(fate)
                await member.leave()
            except OSError as error:
                self.failed.append(error)
            self.newcomers += 1
            self.left.append(member)

    async def more(self, count):
        wanted = self.newcomers + count
        await until("newcomers are served", lambda: self.newcomers >= wanted)

    async def __aexit__(self, *error):
        self.stopping.set()
        if any(error):
            for task in self.tasks:
                task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=any(error))


async def restart(balancer, load, node):
    """Restarts a node while HAProxy sends no new clients to it."""
    node.process.send_signal(signal.SIGTERM)
    await until("HAProxy drains the node", lambda: "DRAIN" in balancer.states().get(node.name, ""))
    await load.more(20)
    log = await node.end()
    newcomers = load.newcomers
    await node.__aenter__()
    await balancer.all_up()
    await until("new clients come to it", lambda: any(member.node == node.port for member in load.left[newcomers:]))
    return log


async def rolling_restart(balancer, redis, nodes):
    """All nodes restart under load. Nobody is refused, and no line is lost."""
    async with Tap(redis) as tap:
        async with Load(balancer.front) as load:
            # This client stays until the node stops.
            stayer = Member(balancer.front, moves=False)
            await stayer.connect()
            load.tasks.append(asyncio.create_task(stayer.talk(load.stopping, 0.3)))
            home = next(node for node in nodes if node.port == stayer.node)
            moved = [member for member in load.members if member.node == stayer.node]
            await restart(balancer, load, home)
            assert stayer.ended and stayer.notes[-1] == "* this node stops, goodbye" and not stayer.rest, stayer.notes
            assert stayer.fates["ended"] <= 1 and stayer.fates["echoed"] > 10, stayer.fates
            assert len(moved) >= 10 and not any(member.ended for member in moved), len(moved)
            for node in nodes:
                if node is not home:
                    log = await restart(balancer, load, node)
                    # All clients have left before the limit.
                    assert f"server tcp 127.0.0.1:{node.port} drains" in log, log
        fates = sum((member.fates for member in load.members), collections.Counter())
        assert not load.failed and set(fates) == {"echoed"}, (load.failed, fates)
        moves = sum(len(member.pieces) - 1 for member in load.members)
        assert all(len(member.pieces) > 1 for member in load.members), "a client has never moved"
        assert not any("goodbye" in note for member in load.members for note in member.notes)
        count = await seen_by_all(load.members, tap, [*load.left, stayer])
        print(f"  3 restarts under load: {fates['echoed']} lines, {count} deliveries, {moves} moves, "
              f"{load.newcomers} newcomers, nobody refused and no line cut or lost")
        await asyncio.gather(*(member.leave() for member in load.members))


async def end(balancer, nodes, members):
    """Ctrl-C twice does not wait for the clients."""
    for node in nodes:
        node.interrupt()
    # The system drops the second signal if the first one is pending.
    await until("all nodes drain", lambda: all("DRAIN" in balancer.states().get(node.name, "") for node in nodes))
    for node in nodes:
        node.interrupt()
    for node in nodes:
        await node.end()
    await until("all see the end", lambda: all(member.ended for member in members))
    assert all(member.notes[-1] == "* this node stops, goodbye" and not member.rest for member in members)
    print("  Ctrl-C twice: all clients are told")


async def check(away):
    with tempfile.TemporaryDirectory(prefix="backport-cluster-") as folder:
        async with contextlib.AsyncExitStack() as stack:
            redis, nodes, balancer = await begin(stack, folder, NODES, example("cluster_chat"), "info")
            members = await one_chat(balancer, redis)
            await killed_node(balancer, redis, nodes, members)
            await killed_redis(balancer, redis, members, away)
            await frozen_redis(redis, members)
            await asyncio.gather(*(member.leave() for member in members))
            await rolling_restart(balancer, redis, nodes)
            await end(balancer, nodes, await connected(balancer.front, 6))


class Listener(asyncio.Protocol):
    """A client that only counts."""

    lines = 0

    def data_received(self, data):
        Listener.lines += data.count(b"\n")


def cpu(process):
    """The CPU time of a process in seconds, by its own clock: see clock_getcpuclockid(3)."""
    return time.clock_gettime(~process.pid << 3 | 2)


def memory(process):
    """The resident memory of a process in KiB."""
    with open(f"/proc/{process.pid}/status") as file:
        return int(re.search(r"VmRSS:\s+(\d+) kB", file.read())[1])


async def used(processes, work):
    """What each group of processes uses of a CPU while something is done, and how long that takes."""
    times, start = [sum(map(cpu, group)) for group in processes], time.monotonic()
    await work
    took = time.monotonic() - start
    return [(sum(map(cpu, group)) - before) / took for group, before in zip(processes, times)], took


async def speak(clients, first, wanted, rate, seconds):
    """So many lines a second, of one client after another, until all of them have come."""
    start = time.monotonic()
    for line in range(rate * seconds):
        clients[line % len(clients)].write(b"%60d\n" % line)
        await asyncio.sleep(max(0, start + (line + 1) / rate - time.monotonic()))
    await until("all lines have come", lambda: Listener.lines - first >= wanted)


async def measure(count, clients, rate, seconds):
    """Prints what a delivery costs."""
    resource.setrlimit(resource.RLIMIT_NOFILE, [resource.getrlimit(resource.RLIMIT_NOFILE)[1]] * 2)
    program = os.path.join(os.path.dirname(os.path.dirname(EXAMPLES)), "release", "examples", "cluster_chat")
    with tempfile.TemporaryDirectory(prefix="backport-cluster-") as folder:
        async with contextlib.AsyncExitStack() as stack:
            redis, nodes, balancer = await begin(stack, folder, NODES[:count], program, "error")
            empty = sum(memory(node.process) for node in nodes)
            listeners = []
            for number in range(count * clients):
                connection = await asyncio.get_running_loop().create_connection(Listener, "127.0.0.1", balancer.front)
                listeners.append(connection[0])
                connection[0].write(b"c%d\n" % number)
            # The arrival of a client is a line for all that have come before, and at least for the client.
            await until("all have come", lambda: Listener.lines >= 2 * len(listeners), 3 * DEADLINE)
            before = -1
            while Listener.lines != before:
                before = Listener.lines
                await asyncio.sleep(1)

            processes = [node.process for node in nodes], [balancer.process], [redis.process]
            # Checks and timers cost something also if nobody talks.
            idle, _ = await used(processes, asyncio.sleep(5))
            first, wanted = Listener.lines, rate * seconds * len(listeners)
            busy, took = await used(processes, speak(listeners, first, wanted, rate, seconds))
            assert Listener.lines - first == wanted, "a line was lost"
            node, haproxy, between = (1e6 * took * (share - rest) for share, rest in zip(busy, idle))
            full = sum(memory(node.process) for node in nodes)
            print(f"{count} nodes with {clients} clients each, {rate} lines of about 70 bytes a second, {took:.1f} s")
            print(f"  {wanted} deliveries; without lines, the programs use {sum(idle):.1%} of a CPU")
            print(f"  a node:  {node / wanted:.1f} µs of CPU time per delivery, {busy[0] / count:.1%} of a CPU")
            print(f"  HAProxy: {haproxy / wanted:.1f} µs per delivery, {busy[1]:.1%} of a CPU")
            print(f"  Redis:   {between / rate / seconds:.1f} µs per line, {busy[2]:.1%} of a CPU")
            print(f"  memory of a node: {(full - empty) / len(listeners):.1f} KiB per client")


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--away", type=float, default=6, help="for how many seconds Redis is away")
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--nodes", type=int, default=3, choices=[1, 2, 3], help="how many are measured")
    parser.add_argument("--clients", type=int, default=300, help="how many each node has in a measurement")
    parser.add_argument("--lines", type=int, default=20, help="how many come in a second of a measurement")
    parser.add_argument("--seconds", type=int, default=20, help="how long a measurement takes")
    arguments = parser.parse_args()
    if arguments.measure:
        await measure(arguments.nodes, arguments.clients, arguments.lines, arguments.seconds)
    else:
        await asyncio.wait_for(check(arguments.away), 110)


asyncio.run(main())

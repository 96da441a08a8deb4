"""Drives the example `handover`: restarts under load, a successor that fails, and socket activation."""

import asyncio
import os
import shutil
import signal
import socket
import sys
import tempfile

from load import Load
from programs import DEADLINE, Server, example, run

RESTARTS = 10
CLIENTS = 16


class Group(Server):
    """A server and its successors. All of them are killed if the test fails."""

    options = {"start_new_session": True}

    async def ended(self):
        """Waits until all processes have ended, and returns their log. They share the pipe of the log."""
        return (await asyncio.wait_for(self.log, DEADLINE)).decode()

    async def __aexit__(self, *_):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        await self.process.wait()


async def restarts(folder):
    """Restarts lose no connection, and a successor that fails does not replace its predecessor."""
    program = os.path.join(folder, "handover")
    shutil.copy(example("handover"), program)
    async with Group(program, "127.0.0.1:0") as server:
        async with Load(server.port, CLIENTS) as load:
            pid = await load.answered_by([], 20)
            seen = [pid]
            for _ in range(RESTARTS):
                os.kill(pid, signal.SIGUSR2)
                pid = await load.answered_by(seen, 20)
                seen.append(pid)
            load.check()

            # A new version that dies at its start: the old one goes on.
            os.rename(program, program + ".works")
            with open(program, "w") as file:
                file.write("#!/bin/sh\nexit 3\n")
            os.chmod(program, 0o755)
            os.kill(pid, signal.SIGUSR2)
            await load.more(500)
            os.replace(program + ".works", program)
            assert await load.answered_by(seen[:-1], 20) == pid
            # A version that works replaces it after that.
            os.kill(pid, signal.SIGUSR2)
            pid = await load.answered_by(seen, 20)
            seen.append(pid)
        load.check()
        assert len(load.answers) == RESTARTS + 2, load.answers
        os.kill(pid, signal.SIGTERM)
        log = await server.ended()
        assert log.count("no successor, so this process goes on: it has ended before it was ready") == 1, log
        assert "exit status: 3" in log and "WARN" not in log, log
    print(f"  {RESTARTS} restarts, {load.answers.total()} answers, none lost")


async def message(notified):
    loop = asyncio.get_running_loop()
    return (await asyncio.wait_for(loop.sock_recv(notified, 4096), DEADLINE)).decode().split("\n")[0]


async def ask(reader, writer, text):
    writer.write(text + b"\n")
    line = await asyncio.wait_for(reader.readline(), DEADLINE)
    pid, _, answer = line.rstrip(b"\n").partition(b": ")
    assert answer == text, line
    return int(pid)


async def activation(folder):
    """systemd passes the listener on, and hears in order what happens."""
    path = os.path.join(folder, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified, socket.socket() as probe:
        notified.bind(path)
        notified.setblocking(False)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        # With a pipe of asyncio, `wait` would also wait for the successor, which inherits the pipe.
        log, stderr = os.pipe()
        process = await asyncio.create_subprocess_exec(
            "systemd-socket-activate", "-l", f"127.0.0.1:{port}", "-E", f"NOTIFY_SOCKET={path}", "-E", "RUST_LOG=info",
            example("handover"), stdout=asyncio.subprocess.DEVNULL, stderr=stderr, start_new_session=True)
        os.close(stderr)
        try:
            first = await connect(port)
            assert await message(notified) == "READY=1"
            assert await ask(*first, b"activated") == process.pid

            process.send_signal(signal.SIGUSR2)
            assert await message(notified) == "READY=1"
            main = await message(notified)
            # The old process still serves its client.
            assert await ask(*first, b"still there") == process.pid
            second = await connect(port)
            pid = await ask(*second, b"who is it")
            assert pid != process.pid and main == f"MAINPID={pid}", main
            first[1].close()
            # The client was its last one.
            assert await asyncio.wait_for(process.wait(), DEADLINE) == 0

            os.kill(pid, signal.SIGTERM)
            assert await message(notified) == "STOPPING=1"
            # It says so before it drains. Its client may still finish.
            assert await ask(*second, b"the last words") == pid
            second[1].close()
            # The pipe ends with the last process.
            with open(log) as file:
                said = await asyncio.wait_for(asyncio.to_thread(file.read), DEADLINE)
            assert "WARN" not in said and "ERROR" not in said, said
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    print("  socket activation, a restart and a stop, in the order that systemd expects")


async def connect(port):
    """Connects as soon as the other side listens."""
    for _ in range(100 * DEADLINE):
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
    raise AssertionError("nobody listens")


async def main():
    with tempfile.TemporaryDirectory(prefix="backport-handover-") as folder:
        await restarts(folder)
        if shutil.which("systemd-socket-activate"):
            await activation(folder)
        else:
            print("SKIPPED: no systemd-socket-activate", file=sys.stderr)
            assert os.environ.get("CI") != "true"


run(main())

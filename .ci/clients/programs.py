"""The examples as processes: started, watched, and ended by what a test says."""

import asyncio
import os
import re
import signal

DEADLINE = 20
EXAMPLES = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "debug", "examples")


def example(name):
    return os.path.join(EXAMPLES, name)


def run(main, deadline=2 * DEADLINE):
    """Runs a test with one deadline for all of it."""
    asyncio.run(asyncio.wait_for(main, deadline))


class Server:
    """A TCP server on a free port, which it prints. It is killed if the test fails."""

    options = {}

    def __init__(self, *command, log="info"):
        self.command = command
        self.level = log

    async def __aenter__(self):
        env, pipe = dict(os.environ, RUST_LOG=self.level), asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(
            *self.command, env=env, stdout=pipe, stderr=pipe, **self.options)
        try:
            self.port = await asyncio.wait_for(self.find_port(), DEADLINE)
        except BaseException:
            self.process.kill()
            raise
        self.log = asyncio.create_task(self.process.stderr.read())
        return self

    async def find_port(self):
        line = await self.process.stdout.readline()
        found = re.fullmatch(rb"listening on 127\.0\.0\.1:(\d+)\n", line)
        assert found, f"it says {line} instead of its address"
        return int(found[1])

    def interrupt(self):
        """What Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    async def end(self):
        """Waits for the end of the process, and gives its status and the rest of its log."""
        status = await asyncio.wait_for(self.process.wait(), DEADLINE)
        return status, (await self.log).decode()

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

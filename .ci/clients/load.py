"""A load of short connections: each of them connects, asks once and reads the answer."""

import asyncio
import collections
import itertools

from programs import DEADLINE


class Load:
    """So many connections at a time, until it is stopped. It counts the failures by their kind."""

    def __init__(self, port, clients):
        self.port, self.clients = port, clients
        self.refused, self.cut, self.answers = [], [], collections.Counter()
        self.stopping = False
        # Enough for any test. A server that answers nothing must not keep this program busy for ever.
        self.numbers = itertools.islice(itertools.count(), 1_000_000)

    async def __aenter__(self):
        self.tasks = [asyncio.create_task(self.client(nth)) for nth in range(self.clients)]
        return self

    async def client(self, nth):
        for number in self.numbers:
            if self.stopping:
                return
            try:
                reader, writer = await asyncio.wait_for(
                    asyncio.open_connection("127.0.0.1", self.port), DEADLINE)
            except OSError as error:
                self.refused.append(error)
                continue
            try:
                # Some connections wait, so that a restart finds connections in every state.
                await asyncio.sleep(0.005 * (nth % 4))
                writer.write(b"%d\n" % number)
                line = await asyncio.wait_for(reader.readline(), DEADLINE)
                pid, colon, answer = line.decode().rstrip("\n").partition(": ")
                if colon and answer == str(number):
                    self.answers[int(pid)] += 1
                else:
                    self.cut.append(line)
            except OSError as error:
                self.cut.append(error)
            finally:
                writer.close()
                try:
                    await writer.wait_closed()
                except OSError:
                    pass  # It has been counted.

    async def answered_by(self, seen, count):
        """Waits until a process that is not in `seen` has answered so often, and returns it."""
        for _ in range(100 * DEADLINE):
            for pid, answers in self.answers.items():
                if pid not in seen and answers >= count:
                    return pid
            await asyncio.sleep(0.01)
        raise AssertionError(f"no new process answers: {self.answers}")

    async def more(self, count):
        """Waits for so many more answers, of any process."""
        wanted = self.answers.total() + count
        for _ in range(100 * DEADLINE):
            if self.answers.total() >= wanted:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"no more answers: {self.answers}")

    def check(self):
        assert not self.refused and not self.cut, f"refused: {self.refused}, cut: {self.cut}"

    async def __aexit__(self, *_):
        self.stopping = True
        await asyncio.gather(*self.tasks)

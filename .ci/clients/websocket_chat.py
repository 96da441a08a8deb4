"""Drives the example `websocket_chat` with the client of the `websockets` package, and its page with Chromium."""

import asyncio
import json
import socket
import tempfile

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from programs import DEADLINE, Server, example, run

#: The limits of the example.
LARGEST, SILENCE = 4 * 1024, 15


async def soon(awaitable, limit=DEADLINE):
    return await asyncio.wait_for(awaitable, limit)


class Member:
    """A member of a room. It counts who is here, and keeps what is said."""

    def __init__(self, server, room, **options):
        self.uri = f"ws://127.0.0.1:{server.port}/chat/{room}"
        self.options = {"compression": None, "ping_interval": None, "max_queue": None, **options}
        self.here = None

    async def __aenter__(self):
        self.socket = await connect(self.uri, **self.options)
        self.number = json.loads(await soon(self.socket.recv()))["you"]
        return self

    async def __aexit__(self, *_):
        await self.socket.close()

    async def say(self, text):
        await self.socket.send(text)

    async def hear(self):
        """The next thing that is said: from whom, and what."""
        while True:
            message = json.loads(await soon(self.socket.recv()))
            if "here" in message:
                self.here = message["here"]
            else:
                return message["from"], message["text"]

    async def wait_for(self, here):
        while self.here != here:
            message = json.loads(await soon(self.socket.recv()))
            self.here = message["here"]

    async def ended(self):
        """How the server has ended the connection."""
        try:
            while True:
                await soon(self.socket.recv())
        except ConnectionClosed as closed:
            return closed


async def rooms(server):
    async with Member(server, "red") as ann, Member(server, "red") as bob, Member(server, "blue") as eve:
        await bob.wait_for(2)
        await eve.wait_for(1)
        await ann.say("hello, <b>bob</b> 🌍")
        assert await ann.hear() == await bob.hear() == (ann.number, "hello, <b>bob</b> 🌍")
        await eve.say("only me")
        assert await eve.hear() == (eve.number, "only me")
        # In fragments, empty, and as large as it may be.
        for message, heard in [(["in ", "three ", "parts"], "in three parts"), ("", ""), ("x" * LARGEST, "x" * LARGEST)]:
            await bob.say(message)
            assert await ann.hear() == await bob.hear() == (bob.number, heard)
        await soon(await ann.socket.ping(b"there?"))

        async def parts():
            yield "before the ping, "
            await soon(await bob.socket.ping(b"in the midst of a message"))
            yield "after the ping"

        await bob.say(parts())
        assert await ann.hear() == await bob.hear() == (bob.number, "before the ping, after the ping")
        await bob.socket.close()
        assert bob.socket.close_code == 1000
        await ann.wait_for(1)
        async with Member(server, "red") as bob:
            await ann.wait_for(2)
    print("  rooms, fragments, ping, closing handshake")


async def order(server, members=20, messages=25):
    async with asyncio.TaskGroup() as group:
        everybody = [Member(server, "busy") for _ in range(members)]
        for member in everybody:
            await member.__aenter__()

        async def talk(member):
            for number in range(messages):
                await member.say(f"{number}")

        for member in everybody:
            group.create_task(talk(member))
        heard = [[await member.hear() for _ in range(members * messages)] for member in everybody]
    assert all(other == heard[0] for other in heard), "not in one order"
    for member in everybody:
        said = [text for number, text in heard[0] if number == member.number]
        assert said == [str(number) for number in range(messages)], said
    for member in everybody:
        await member.__aexit__()
    print(f"  {members} members × {messages} messages in one order")


async def misuse(server):
    async with Member(server, "red") as witness:
        for code, misuse in [
            (1009, lambda m: m.say("x" * (LARGEST + 1))),
            (1009, lambda m: m.say(["x" * 1000] * 5)),
            (1007, lambda m: send_frame(m, 0x81, b"\xff")),
            (1007, lambda m: m.socket.send([b"\xf0\x9f", b"\xff"], text=True)),
            (1002, lambda m: send_frame(m, 0x81, b"not masked", masked=False)),
            (1002, lambda m: send_frame(m, 0x80, b"the end of nothing")),
            (1002, lambda m: send_frame(m, 0xC1, b"a reserved bit")),
            (1002, lambda m: send_frame(m, 0x09, b"a ping in parts")),
            (1002, lambda m: send_frame(m, 0x8B, b"a control frame of no known kind")),
        ]:
            async with Member(server, "red") as member:
                await witness.wait_for(2)
                await misuse(member)
                closed = await member.ended()
                assert closed.rcvd and closed.rcvd.code == code, (code, closed)
            await witness.wait_for(1)
        await witness.say("still here")
        assert await witness.hear() == (witness.number, "still here")
    print("  too long, not UTF-8, not masked, not a protocol: 1009, 1007, 1002")


async def send_frame(member, first, payload, masked=True):
    """Sends a short frame that the package would not send. Its mask is zero, so its bytes stay as they are."""
    length, mask = (len(payload) | 0x80, bytes(4)) if masked else (len(payload), b"")
    member.socket.transport.write(bytes([first, length]) + mask + payload)


async def refused(status, server, room="red", **options):
    try:
        async with connect(f"ws://127.0.0.1:{server.port}/chat/{room}", **options):
            raise AssertionError(f"not refused with {status}")
    except InvalidStatus as error:
        assert error.response.status_code == status, error
        return error.response


async def handshakes(server):
    host = f"127.0.0.1:{server.port}"
    for origin in ["http://example.com", f"http://{host}.example.com", f"ftp://{host}", "null", "http://127.0.0.1", ""]:
        await refused(403, server, additional_headers={"Origin": origin})
    await refused(404, server, room="a/b")
    await refused(404, server, room="x" * 33)
    for origin in [f"http://{host}", f"https://{host}"]:
        async with Member(server, "red", additional_headers={"Origin": origin}):
            pass
    # What is sent, and how the answer begins.
    upgrade = f"GET /chat/red HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {'A' * 22}==\r\n"
    for request, answer in [
        (f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Type: text/html"),
        (f"GET /nothing HTTP/1.1\r\nHost: {host}\r\n\r\n", "HTTP/1.1 404 "),
        (f"GET /chat/red HTTP/1.1\r\nHost: {host}\r\n\r\n", "HTTP/1.1 426 "),
        (f"{upgrade}Sec-WebSocket-Version: 8\r\n\r\n", "HTTP/1.1 426 "),
        (f"{upgrade}Sec-WebSocket-Version: 13\r\n\r\n", "HTTP/1.1 101 "),
        ("hello?\r\n\r\n", "HTTP/1.1 400 "),
        ("GET / HTTP/1.1\r\nHost:", "HTTP/1.1 400 "),
        ("GET / HTTP/1.1\r\nX: " + 100_000 * "x", "HTTP/1.1 400 "),
        ("", ""),
    ]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(request.encode())
        if not request.startswith("GET /chat"):
            writer.write_eof()
        said = await soon(reader.readuntil(b"\r\n\r\n") if answer else reader.read())
        assert said.decode().startswith(answer) and bool(said) == bool(answer), (request, said)
        writer.close()
    print("  handshakes: 403, 404, 426, 400")


async def slow_reader(server):
    """A member that never reads is dropped, and the others get everything."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(("127.0.0.1", server.port))
    async with Member(server, "flood") as reader, Member(server, "flood") as speaker:
        await speaker.wait_for(2)
        async with Member(server, "flood", sock=raw) as lazy:
            await reader.wait_for(3)
            lazy.socket.transport.pause_reading()
            # Control characters take six bytes each in JSON.
            said, dropped = "\x01" * LARGEST, False
            while not dropped:
                await speaker.say(said)
                for member in [speaker, reader]:
                    assert await member.hear() == (speaker.number, said)
                dropped = reader.here == 2
            lazy.socket.transport.abort()
        await speaker.say("go on")
        assert await reader.hear() == (speaker.number, "go on")
    print("  a slow reader is dropped")


async def vanished(server):
    """A member that answers no ping is dropped. One that answers stays, even if it says nothing."""
    async with Member(server, "quiet") as silent, Member(server, "quiet") as witness:
        await witness.wait_for(2)
        silent.socket.transport.pause_reading()
        began = asyncio.get_running_loop().time()
        while witness.here != 1:
            witness.here = json.loads(await soon(witness.socket.recv(), SILENCE + DEADLINE))["here"]
        assert asyncio.get_running_loop().time() - began > SILENCE - 1
        silent.socket.transport.abort()
    print("  a silent member is dropped")


class Browser:
    """Chromium without a screen. Each page is a window of it."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for argument in ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={self.folder.name}"]:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
        return self

    def __exit__(self, *_):
        self.driver.quit()
        self.folder.cleanup()

    def open(self, url):
        self.driver.switch_to.new_window("tab")
        self.driver.get(url)
        return Page(self.driver, self.driver.current_window_handle)


class Page:
    def __init__(self, driver, window):
        self.driver, self.window = driver, window

    def find(self, name):
        self.driver.switch_to.window(self.window)
        return self.driver.find_element(By.ID, name)

    def wait_for(self, what, condition):
        WebDriverWait(self.driver, DEADLINE, 0.05).until(lambda _: condition(), f"not in time: {what}")

    def wait_for_state(self, state):
        self.wait_for(state, lambda: self.find("state").text == state)

    def say(self, text):
        self.find("text").send_keys(text, Keys.ENTER)

    def heard(self):
        log = self.find("log")
        return [item.get_property("textContent") for item in log.find_elements(By.TAG_NAME, "li")]

    def wait_for_heard(self, *texts):
        self.wait_for(texts, lambda: [text for text in texts if not any(text in heard for heard in self.heard())] == [])


def two_pages(browser, port):
    address = f"http://127.0.0.1:{port}/"
    ann, bob, eve = [browser.open(address + room) for room in ["#tea", "#tea", ""]]
    for page, state in [(ann, "2 people are here"), (bob, "2 people are here"), (eve, "you are alone here")]:
        page.wait_for_state(state)
    html = "<img src=x onerror=alert(1)> & <b>so on</b>"
    ann.say(html)
    for page, who in [(ann, "you"), (bob, "guest ")]:
        page.wait_for_heard(html)
        assert len(page.heard()) == 1 and page.heard()[0].startswith(who), page.heard()
        assert not page.find("log").find_elements(By.CSS_SELECTOR, "img, li b b")
    assert ann.find("text").get_property("value") == ""
    assert eve.heard() == []
    # She goes to their room.
    eve.find("room").clear()
    eve.find("room").send_keys("tea", Keys.ENTER)
    eve.wait_for_state("3 people are here")
    bob.say("welcome")
    for page in [ann, bob, eve]:
        page.wait_for_heard("welcome")
    return [ann, bob, eve]


def after_a_restart(browser, pages):
    for page in pages:
        page.wait_for_state("3 people are here")
    pages[0].say("again")
    for page in pages:
        page.wait_for_heard("again")
    # A violation of the policy and an error of the script are logged as severe.
    severe = [entry for entry in browser.driver.get_log("browser")
              if entry["level"] == "SEVERE" and "WebSocket connection to" not in entry["message"]]
    assert severe == [], severe


async def page():
    with await asyncio.to_thread(Browser().__enter__) as browser:
        async with Server(example("websocket_chat"), "127.0.0.1:0") as server:
            pages = await asyncio.to_thread(two_pages, browser, server.port)
            print("  two pages in one room")
            server.interrupt()
            assert (await server.end())[0] == 0
        for each in pages:
            await asyncio.to_thread(each.wait_for_state, "waiting for the server …")
        async with Server(example("websocket_chat"), f"127.0.0.1:{server.port}") as server:
            await asyncio.to_thread(after_a_restart, browser, pages)
            server.interrupt()
            assert (await server.end())[0] == 0
        print("  the pages connect to the next server")


async def stop(server):
    members = [await Member(server, room).__aenter__() for room in ["red", "red", "blue"]]
    server.interrupt()
    for member in members:
        closed = await member.ended()
        assert closed.rcvd and closed.rcvd.code == 1001 and closed.rcvd_then_sent, closed
    status, log = await server.end()
    assert status == 0, status
    assert "panic" not in log, log
    print("  stopped while connected: 1001")


async def main():
    async with Server(example("websocket_chat"), "127.0.0.1:0") as server:
        async with asyncio.TaskGroup() as group:
            group.create_task(vanished(server))
            group.create_task(page())
            await rooms(server)
            await order(server)
            await misuse(server)
            await handshakes(server)
            await slow_reader(server)
        await stop(server)


run(main(), deadline=5 * DEADLINE)

"""Drives the example `monitor` with Chromium, curl and a parser of Prometheus.

With an argument, it saves the screenshot to that file.
"""

import asyncio
import contextlib
import io
import os
import re
import signal
import socket
import sys
import tempfile
import time
import urllib.parse

from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By

from programs import DEADLINE, Server, example

PIPE = asyncio.subprocess.PIPE
# Chromium needs several seconds to start if the computer is busy.
ALL_OF_IT = 5 * DEADLINE
NASTY = "Bob <img src=x onerror=alert(1)>"


async def until(what, condition):
    """Waits for a fact: the value of an async function that is not false."""
    end = time.monotonic() + DEADLINE
    while True:
        if value := await condition():
            return value
        assert time.monotonic() < end, what
        await asyncio.sleep(0.05)


class Member:
    """A client of the chat, which counts what it sends and what it receives."""

    def __init__(self, name):
        self.name = name
        self.sent = self.received = 0
        self.peer = None

    async def join(self, port, reads=True):
        connection = socket.socket()
        if not reads:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        self.peer = "127.0.0.1:%d" % connection.getsockname()[1]
        self.reader, self.writer = await asyncio.open_connection(sock=connection)
        # When the answer is here, the server has read everything.
        await self.say(f"name {self.name}", "hello")
        answer = f"{self.name}: hello\n".encode()
        assert await asyncio.wait_for(self.reader.readexactly(len(answer)), DEADLINE) == answer
        self.received += len(answer)
        self.reading = asyncio.create_task(self.read()) if reads else None
        return self

    async def say(self, *lines):
        data = "".join(line + "\n" for line in lines).encode()
        self.sent += len(data)
        self.writer.write(data)
        await self.writer.drain()

    async def read(self):
        """Reads until the server ends the connection."""
        while data := await self.reader.read(65536):
            self.received += len(data)


class Monitor:
    """What the monitor says to a program that is no browser."""

    def __init__(self, url):
        self.url = url
        self.host = urllib.parse.urlsplit(url).netloc
        self.port = urllib.parse.urlsplit(url).port

    async def ask(self, method, path, **headers):
        """Sends a request, and gives the status, the head and the body of the answer."""
        headers = {"Host": self.host, "Connection": "close", **headers}
        lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), DEADLINE)
        writer.close()
        head, body = answer.decode().split("\r\n\r\n", 1)
        return int(head.split()[1]), head, body

    async def metrics(self, server):
        """The series of one server: a number for each name, or for a name and a reason."""
        status, head, body = await self.ask("GET", "/metrics")
        assert status == 200 and "\r\nContent-Type: text/plain; version=0.0.4" in head, head
        return series(body, server)


def series(text, server):
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type in ("counter", "gauge"), family
        for sample in family.samples:
            assert sample.name.endswith("_total") == (family.type == "counter"), sample
            if sample.labels.get("server") == server:
                key = (sample.name, sample.labels.get("reason"))
                assert key not in found, key
                found[key] = sample.value
    return {name if reason is None else (name, reason): value for (name, reason), value in found.items()}


async def guards(monitor):
    own, port = f"http://{monitor.host}", monitor.port
    cases = [
        ("GET", "/", {}, 200),
        ("GET", "/", {"Host": f"localhost:{port}"}, 200),
        ("GET", "/", {"Host": f"[::1]:{port}"}, 200),
        ("GET", "/", {"Sec_Fetch_Site": "none"}, 200),
        ("GET", "/page.js", {"Sec_Fetch_Site": "same-origin", "Origin": own}, 200),
        ("GET", "/", {"Host": "evil.example"}, 403),
        ("GET", "/", {"Host": f"evil.example:{port}"}, 403),
        ("GET", "/", {"Host": f"localhost.evil.example:{port}"}, 403),
        ("GET", "/", {"Host": "localhost"}, 403),
        ("GET", "/", {"Host": f"localhost:{port + 1}"}, 403),
        ("GET", "/events", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("GET", "/metrics", {"Sec_Fetch_Site": "same-site"}, 403),
        ("POST", "/close/1", {"Host": f"evil.example:{port}"}, 403),
        ("POST", "/close/1", {"Origin": "http://evil.example"}, 403),
        ("POST", "/close/1", {"Origin": "null"}, 403),
        ("POST", "/close/1", {"Origin": f"http://127.0.0.1:{port + 1}"}, 403),
        ("POST", "/close/1", {"Origin": f"https://{monitor.host}"}, 403),
        ("POST", "/close/1", {"Sec_Fetch_Site": "cross-site"}, 403),
        ("GET", "/close/1", {}, 405),
        ("HEAD", "/close/1", {}, 405),
        ("POST", "/", {}, 405),
        ("POST", "/close/999999", {}, 404),
        ("POST", "/close/", {}, 404),
        ("POST", "/close/1x", {}, 404),
        ("GET", "/nothing", {}, 404),
    ]
    for method, path, headers, wanted in cases:
        status, head, _ = await monitor.ask(method, path, **headers)
        assert status == wanted, (method, path, headers, head)
        assert (status != 405) or "\r\nAllow: " in head, head
    _, head, _ = await monitor.ask("GET", "/")
    assert "default-src 'self'" in head and "frame-ancestors 'none'" in head and "unsafe" not in head, head
    print("  requests of foreign pages are refused")


class Browser:
    """Chromium with one page. Its methods run on another thread, because the driver blocks."""

    async def __aenter__(self):
        self.driver = await asyncio.to_thread(self.start)
        return self

    def start(self):
        options = Options()
        options.binary_location = "/usr/bin/chromium"
        # Root has no sandbox, and the shared memory of a container is small.
        for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server",
                         "--host-resolver-rules=MAP evil.example 127.0.0.1", "--force-device-scale-factor=1"]:
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = WebDriver(options, Service("/usr/bin/chromedriver"))
        try:
            size = {"width": 1200, "height": 800, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            light = {"features": [{"name": "prefers-color-scheme", "value": "light"}]}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", light)
            driver.set_script_timeout(DEADLINE)
        except BaseException:
            driver.quit()
            raise
        return driver

    async def __aexit__(self, *_):
        await asyncio.to_thread(self.driver.quit)

    async def open(self, url):
        await asyncio.to_thread(self.driver.get, url)

    async def run(self, script, *arguments):
        return await asyncio.to_thread(self.driver.execute_script, script, *arguments)

    async def text(self, selector):
        return await self.run("return document.querySelector(arguments[0]).textContent", selector)

    async def click(self, selector):
        await asyncio.to_thread(lambda: self.driver.find_element(By.CSS_SELECTOR, selector).click())

    async def messages(self):
        """What the console shows, and has not shown before."""
        return await asyncio.to_thread(self.driver.get_log, "browser")

    async def rows(self):
        """The clients, each as the texts and the titles of its cells by the text of the column."""
        found = await self.run("""
            const names = [...document.querySelectorAll("#rows th")].map((th) => th.textContent.trim());
            return [...document.querySelector("#rows tbody").rows].map((row) =>
                Object.fromEntries([...row.cells].flatMap((td, column) =>
                    [[names[column], td.textContent], [names[column] + " title", td.title]])));
        """)
        return {row["Name"] or row["No."]: row for row in found}

    async def screenshot(self):
        return await asyncio.to_thread(self.driver.get_screenshot_as_png)


async def foreign_pages(browser, monitor, victim):
    """A page of another name, which leads to this computer. It asks for the monitor by its real name, too."""
    await browser.open(f"http://evil.example:{monitor.port}/")
    assert await browser.text("body") == "Open localhost.\n"
    for path in ["close/1", "metrics"]:
        method = "POST" if path.startswith("close") else "GET"
        done = await asyncio.to_thread(browser.driver.execute_async_script, """
            const [url, method, done] = arguments;
            fetch(url, { method, mode: "no-cors" }).then((answer) => done(answer.type), (error) => done(`${error}`));
        """, monitor.url + path, method)
        # The answer came, and the page may not read it.
        assert done == "opaque", done
    before = victim.received
    await victim.say("still here")

    async def is_served():
        return victim.received > before

    await until("the client is closed", is_served)
    # The console of these pages shows the refusals.
    await browser.messages()
    print("  Chromium: foreign pages")


def seconds(text):
    minutes, rest = re.fullmatch(r"(?:(\d+) min )?([\d.]+) s", text).groups()
    return 60 * int(minutes or 0) + float(rest)


async def table(browser, server, members, slow):
    """Waits until the table shows exactly what the clients did."""
    rows = {}

    def facts(number, member):
        fact = {"No.": str(number), "Name": member.name, "Peer": member.peer, "Server": server}
        fact["Received title"] = f"{member.sent} bytes"
        if member.name == "Dave":
            return {**fact, "Backlog title": f"{slow} bytes"}
        return {**fact, "Sent title": f"{member.received} bytes", "Backlog title": "0 bytes"}

    async def complete():
        rows.update(await browser.rows())
        wanted = [facts(number, member) for number, member in enumerate(members, 1)]
        # The page is a client of the monitor, and has no name.
        return len(rows) > len(members) and all(fact.items() <= rows[fact["Name"]].items() for fact in wanted)

    try:
        await until("the table is not right", complete)
    except AssertionError:
        print(*rows.values(), sep="\n")
        raise
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", row["Since"]) for row in rows.values()), rows
    assert [row["In a callback for"] for row in (rows["Ann"], rows[NASTY], rows["Dave"])] == ["–"] * 3, rows
    assert await browser.run("return document.querySelectorAll('#rows img').length") == 0

    async def later():
        now = await browser.rows()
        columns = [("Ann", "Idle for"), ("Carol", "In a callback for"), ("Carol", "Idle for")]
        return all(seconds(now[name][column]) > seconds(rows[name][column]) for name, column in columns)

    await until("the times do not move", later)
    print("  Chromium: the table of clients")


async def plot(browser):
    """Waits until the plot has moved several times."""
    seen = set()

    async def moved():
        seen.add(await browser.run("return document.getElementById('received-line').getAttribute('d')"))
        return len(seen) >= 6

    await until("the plot does not move", moved)
    assert all(re.fullmatch(r"M[\d.,L]+|", path) for path in seen), seen

    async def flows():
        return [re.fullmatch(r"([\d.]+) k?B/s", await browser.text(name)) for name in ("#received", "#sent")]

    received, sent = await until("there is no rate", flows)
    assert float(received[1]) > 0 and float(sent[1]) > 0
    assert await browser.messages() == []
    print("  Chromium: the plot moves, and the console is empty")


async def picture(browser, path):
    """The colours of the plot are in its place, and only there are so many of them."""
    png = await browser.screenshot()
    if path:
        with open(path, "wb") as file:
            file.write(png)
    image = Image.open(io.BytesIO(png)).convert("RGB")
    assert image.size == (1200, 800), image.size
    box = await browser.run("const box = document.getElementById('plot').getBoundingClientRect();"
                            "return [box.left, box.top, box.right, box.bottom]")
    inside = image.crop([round(edge) for edge in box])
    for name, colour in [("received", (0x25, 0x63, 0xEB)), ("sent", (0xD9, 0x77, 0x06))]:
        def near(x):
            pixels = (inside.getpixel((x, y)) for y in range(inside.height))
            return any(max(abs(a - b) for a, b in zip(pixel, colour)) < 24 for pixel in pixels)

        columns = [x for x in range(inside.width) if near(x)]
        assert len(columns) > 20, (name, len(columns))
        # The newest point is at the right.
        assert columns[-1] > inside.width - 12, (name, columns[-1], inside.width)
    assert len(image.getcolors(1200 * 800)) > 50
    print(f"  Chromium: a picture of {len(png)} bytes")


async def close_one(browser, monitor, server, carol):
    await browser.click("button[aria-label='Close client 3']")
    await asyncio.wait_for(carol.reading, DEADLINE)

    async def is_gone():
        # While the client ends, it may have lost its name already.
        return all(row["No."] != "3" for row in (await browser.rows()).values())

    await until("the row stays", is_gone)
    assert "Client 3: The client ends" in await browser.text("#note")
    ended = await monitor.metrics(server)
    assert ended["backport_clients_ended_total", "by_server"] == 1, ended
    assert await browser.messages() == []
    # A client that has ended before the button was pressed.
    await browser.run("closeClient('3', document.createElement('button'))")

    async def is_told():
        return "Client 3: This client has already ended." in await browser.text("#note")

    await until("the page says nothing", is_told)
    print("  Chromium: the button")


async def state(browser, wanted):
    async def shown():
        return await browser.run("return document.getElementById('status').dataset.state") == wanted

    await until(f"the page is not {wanted}", shown)


@contextlib.asynccontextmanager
async def monitored(*addresses):
    """The example, and the place of its monitor."""
    async with Server(example("monitor"), *addresses) as server:
        line = await asyncio.wait_for(server.process.stdout.readline(), DEADLINE)
        yield server, re.fullmatch(rb"monitor on (.*)\n", line)[1].decode()


async def stopped(server):
    server.interrupt()
    status, log = await server.end()
    assert status == 0 and "ERROR" not in log, (status, log)


async def with_chromium(path):
    async with Browser() as browser, monitored("127.0.0.1:0", "127.0.0.1:0") as (server, url):
        monitor, service = Monitor(url), f"tcp 127.0.0.1:{server.port}"
        members = [Member(name) for name in ("Ann", NASTY, "Carol", "Dave")]
        ann, bob, carol, dave = members
        for member in members:
            await member.join(server.port, reads=member is not dave)
        await carol.say("sleep 600")
        # Dave does not read. When the kernel takes no more for him, the rest waits in his backlog.
        slow = 0
        while slow == 0:
            await bob.say("x" * 60_000)
            await until("the others do not get it", lambda: even(ann, bob))
            slow = (await monitor.metrics(service))["backport_backlog_bytes"]
        slow = int(slow)
        await guards(monitor)
        numbers = await monitor.metrics(service)
        expected = {
            "backport_clients": 4,
            "backport_clients_peak": 4,
            "backport_clients_accepted_total": 4,
            "backport_clients_refused_total": 0,
            "backport_accept_errors_total": 0,
            "backport_handshakes_failed_total": 0,
            "backport_received_bytes_total": sum(member.sent for member in members),
            "backport_backlog_bytes": slow,
        }
        for reason in "by_peer by_server stopping idle too_slow lost failed panicked".split():
            expected["backport_clients_ended_total", reason] = 0
        sent = numbers.pop("backport_sent_bytes_total")
        assert numbers == expected, (numbers, expected)
        others = ann.received + bob.received + carol.received
        assert others < sent < 2 * others, (sent, others)
        print("  /metrics")
        await foreign_pages(browser, monitor, ann)
        await browser.open(url)
        await state(browser, "live")
        numbers = await monitor.metrics(service)
        await table(browser, service, members, int(numbers["backport_backlog_bytes"]))
        talking = asyncio.create_task(talk(bob))
        try:
            await plot(browser)
            await picture(browser, path)
        finally:
            talking.cancel()
        await close_one(browser, monitor, service, carol)
        server.process.send_signal(signal.SIGSTOP)
        await state(browser, "lost")
        assert "no news" in await browser.text("#status")
        server.process.send_signal(signal.SIGCONT)
        await state(browser, "live")
        print("  Chromium: a server that says nothing is shown")
        for member in (ann, dave):
            member.writer.close()

        async def are_gone():
            return {row["No."] for row in (await browser.rows()).values()}.isdisjoint("14")

        await until("clients that have left stay in the table", are_gone)
        numbers = await monitor.metrics(service)
        assert numbers["backport_clients"] == 1 and numbers["backport_clients_peak"] == 4, numbers
        await stopped(server)
        await asyncio.wait_for(bob.reading, DEADLINE)
        await state(browser, "lost")
        print("  Chromium: the stop of the server is shown")
        async with monitored(f"127.0.0.1:{server.port}", monitor.host) as (again, _):
            await state(browser, "live")

            async def is_new():
                return await browser.text("#clients") == "1"

            await until("the page shows the numbers of the server before", is_new)
            await stopped(again)
        print("  Chromium: the page connects again")


async def even(ann, bob):
    """Ann and Bob have all that Bob has said."""
    return ann.received > 0 and bob.received >= bob.sent


async def talk(member):
    for length in range(1_000_000):
        await member.say("x" * (200 + 150 * (length % 7)))
        await asyncio.sleep(0.1)


async def on_a_unix_socket():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "monitor.sock")

        async def curl(*options):
            command = ["curl", "-sS", "-m", str(DEADLINE), "--unix-socket", path, "-w", "%{http_code}", *options]
            process = await asyncio.create_subprocess_exec(*command, stdout=PIPE)
            out, _ = await asyncio.wait_for(process.communicate(), DEADLINE)
            return out.decode()[:-3], int(out[-3:])

        async with monitored("127.0.0.1:0", path) as (server, place):
            assert place == f"unix {path}" and os.stat(path).st_mode & 0o777 == 0o600, place
            ann = await Member("Ann").join(server.port)
            text, status = await curl("http://localhost/metrics")
            numbers = series(text, f"tcp 127.0.0.1:{server.port}")
            assert status == 200 and numbers["backport_received_bytes_total"] == ann.sent, (status, text)
            # Through ssh, it has the port that the user has chosen.
            assert (await curl("http://localhost:12345/"))[1] == 200
            assert (await curl("http://evil.example/"))[1] == 403
            assert (await curl("-X", "POST", "-H", "Origin: http://evil.example", "http://localhost/close/1"))[1] == 403
            assert (await curl("-X", "POST", "http://localhost/close/1"))[1] == 202
            await asyncio.wait_for(ann.reading, DEADLINE)
            await stopped(server)
    print("  a Unix socket, with curl")


async def on_a_public_address():
    for address in ["0.0.0.0:0", "[::]:0"]:
        process = await asyncio.create_subprocess_exec(
            example("monitor"), "127.0.0.1:0", address, stdout=PIPE, stderr=PIPE)
        try:
            out, err = await asyncio.wait_for(process.communicate(), DEADLINE)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode == 1 and out == b"", (process.returncode, out)
        assert f"could close clients through {address}; ".encode() in err and b"use a loopback address" in err, err
    print("  a public address is refused")


async def main():
    await on_a_public_address()
    await on_a_unix_socket()
    await with_chromium(sys.argv[1] if len(sys.argv) > 1 else None)


asyncio.run(asyncio.wait_for(main(), ALL_OF_IT))

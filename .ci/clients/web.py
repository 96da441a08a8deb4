"""Drives the example `http` with curl, ab and wrk, and with requests that curl would not send.

The file is not named after the example, because Python has a module of that name.
"""

import asyncio
import os
import re
import tempfile

from programs import DEADLINE, Server, example, run

PIPE = asyncio.subprocess.PIPE


async def output(*command, status=0):
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
    out, err = await asyncio.wait_for(process.communicate(), DEADLINE)
    assert process.returncode == status, (command, process.returncode, out, err)
    return out


async def curl(*options):
    return await output("curl", "-sS", "-m", str(DEADLINE), *options)


async def with_curl(url):
    assert await curl(url) == b"Hello.\n"
    assert await curl("--http1.0", url) == b"Hello.\n"
    head = (await curl("-I", url)).decode()
    assert head.startswith("HTTP/1.1 200 OK\r\n") and "Content-Length: 7\r\n" in head, head
    # Four requests over one connection.
    got = (await curl(*["-o", "/dev/null"] * 4, "-w", "%{http_code} %{num_connects}\n",
                      url, url, url + "nothing", url + "echo")).decode()
    assert got == "200 1\n200 0\n404 0\n405 0\n", got
    with tempfile.NamedTemporaryFile() as file:
        body = os.urandom(1024 * 1024)
        file.write(body)
        file.flush()
        data = ["--data-binary", f"@{file.name}", url + "echo"]
        # curl waits for "100 Continue" before it sends so much.
        verbose = await asyncio.create_subprocess_exec(
            "curl", "-sSv", "-H", "Expect: 100-continue", *data, stdout=PIPE, stderr=PIPE)
        out, log = await asyncio.wait_for(verbose.communicate(), DEADLINE)
        assert out == body and b"HTTP/1.1 100 Continue" in log, log
        assert await curl("-H", "Transfer-Encoding: chunked", *data) == body
        assert await curl("-H", "Expect:", *data) == body
        file.write(b"!")
        file.flush()
        for coding in ["Expect:", "Transfer-Encoding: chunked"]:
            got = await curl("-H", "Expect:", "-H", coding, "-w", "%{http_code}", *data)
            assert got == b"Content Too Large413", (coding, got)
    print("  curl: keep-alive, HEAD, chunks, Expect, a body that is too large")


async def events(url):
    process = await asyncio.create_subprocess_exec("curl", "-sSN", url + "events", stdout=PIPE)
    try:
        numbers = []
        while len(numbers) < 3:
            line = await asyncio.wait_for(process.stdout.readline(), DEADLINE)
            if line != b"\n":
                numbers.append(int(re.fullmatch(rb"data: (\d+)\n", line)[1]))
        assert numbers == list(range(numbers[0], numbers[0] + 3)), numbers
    finally:
        process.kill()
        await process.wait()
    print("  events")


async def raw(port, sent):
    """Sends bytes, and gives all that the server says until it ends the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    said = await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
    return said.decode()


GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"

# Requests that end the connection, and the status of the last answer.
LAST = [
    (GET + b"Connection: close\r\n\r\n", 200),
    (GET + b"\r\n" + GET + b"\r\n" + GET + b"Connection: close\r\n\r\n", 200),
    (b"\r\n\r\n" + GET + b"Connection: close\r\n\r\n", 200),
    (b"GET / HTTP/1.0\r\n\r\n", 200),
    (CHUNKED + b"Connection: close\r\n\r\n5;name=x\r\nhello\r\n0\r\nTrailer: x\r\n\r\n", 200),
    (b"hello\r\n\r\n", 400),
    (b"\x16\x03\x01\x00\xee\x01\x00\x00", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (GET + b"Host: y\r\n\r\n", 400),
    (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505),
    (GET + b"Name with spaces: x\r\n\r\n", 400),
    (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
    (POST + b"Content-Length: -5\r\n\r\n", 400),
    (POST + b"Content-Length: +5\r\n\r\nhello", 400),
    (POST + b"Content-Length: \r\n\r\n", 400),
    (POST + b"Content-Length: 99999999999999999999999\r\n\r\n", 413),
    (POST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    (CHUNKED + b"\r\nxyz\r\n", 400),
    (CHUNKED + b"\r\n5\r\nhelloo0\r\n\r\n", 400),
    (CHUNKED + b"\r\nffffffff\r\n", 413),
    (CHUNKED + b"\r\n0\r\n" + b"x: y\r\n" * 200, 431),
    (GET + b"Expect: nonsense\r\n\r\n", 417),
    (GET + b"X: y\r\n" * 150 + b"\r\n", 431),
    (GET + b"X: " + b"y" * 20_000, 431),
]


async def by_hand(port):
    for sent, status in LAST:
        said = await raw(port, sent)
        answers = re.findall(r"HTTP/1\.1 (\d+) ", said)
        assert answers[-1] == str(status) and "Connection: close\r\n" in said, (sent[:80], said[:300])
    assert said.count("HTTP/1.1") == 1
    # Each byte by itself.
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for byte in POST + b"Content-Length: 5\r\nConnection: close\r\n\r\nhello":
        writer.write(bytes([byte]))
        await writer.drain()
    said = await asyncio.wait_for(reader.read(), DEADLINE)
    assert said.endswith(b"\r\n\r\nhello"), said
    writer.close()
    print("  bad requests")


async def too_slow(port):
    """An idle connection ends without a word, and half a head with one."""
    idle, half = await asyncio.gather(raw(port, b""), raw(port, b"GET / HT"))
    assert idle == "" and half.startswith("HTTP/1.1 408 "), (idle, half)
    print("  deadlines")


async def with_load(url):
    said = (await output("ab", "-q", "-k", "-n", "5000", "-c", "20", url)).decode()
    for wanted in ["Complete requests: +5000", "Failed requests: +0", "Keep-Alive requests: +5000"]:
        assert re.search(wanted, said), said
    print("  ab -k")
    said = (await output("wrk", "-t", "2", "-c", "50", "-d", "2", url)).decode()
    assert "requests in" in said and "Socket errors" not in said and "Non-2xx" not in said, said
    print("  wrk")


async def begin_slow(port):
    """Sends a request, and waits until the server has begun it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n")
    line = await asyncio.wait_for(reader.readline(), DEADLINE)
    assert line == b"HTTP/1.1 100 Continue\r\n" and await reader.readline() == b"\r\n", line
    UNDER_WAY.append(writer)
    return reader


# A writer that is dropped closes its connection.
UNDER_WAY = []


async def main():
    async with Server(example("http"), "127.0.0.1:0") as server:
        url = f"http://127.0.0.1:{server.port}/"
        slow = asyncio.create_task(too_slow(server.port))
        await with_curl(url)
        await events(url)
        await by_hand(server.port)
        await with_load(url)
        await slow
        under_way = await asyncio.gather(*(begin_slow(server.port) for _ in range(30)))
        server.interrupt()
        for reader in under_way:
            answer = await asyncio.wait_for(reader.read(), DEADLINE)
            assert b"Connection: close" in answer and answer.endswith(b"That took a second.\n"), answer
        status, log = await server.end()
        assert status == 0 and "ERROR" not in log, log
        print("  Ctrl-C: each request that is under way is answered")


run(main())

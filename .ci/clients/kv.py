"""Drives the example `kv` with redis-cli, redis-benchmark and the Python package `redis`."""

import asyncio
import re
import threading
import time

import redis

from programs import DEADLINE, Server, example, run

PIPE = asyncio.subprocess.PIPE


async def output(*command, text=b""):
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE)
    out, _ = await asyncio.wait_for(process.communicate(text), DEADLINE)
    assert process.returncode == 0, (command, process.returncode, out)
    return out.decode()


async def with_cli(port):
    conversation = [
        ("PING", "PONG"), ("PING hello", "hello"), ("ECHO hi", "hi"),
        ("GET a", ""), ("SET a 1", "OK"), ("GET a", "1"), ("INCR a", "2"), ("INCRBY a 40", "42"), ("GET a", "42"),
        ("INCRBY a x", "ERR value is not an integer or out of range\n"),
        ("SET text abc", "OK"), ("INCR text", "ERR value is not an integer or out of range\n"),
        ("INCRBY a 9223372036854775807", "ERR value is not an integer or out of range\n"),
        ("MGET a nothing text", "42\n\nabc"), ("EXISTS a text nothing a", "3"),
        ("TTL a", "-1"), ("TTL nothing", "-2"), ("EXPIRE a 100", "1"), ("TTL a", "100"), ("EXPIRE nothing 1", "0"),
        ("EXPIRE a 0", "1"), ("GET a", ""), ("SET b x", "OK"), ("EXPIRE b 999999999999", "1"), ("TTL b", "999999999999"),
        ("EXPIRE b 9223372036854775807", "ERR value is not an integer or out of range\n"),
        ("DEL text b nothing", "2"), ("DEL text", "0"), ("PUBLISH nobody hello", "0"),
        ("NONSENSE", "ERR unknown command, or wrong arguments for it\n"),
        ("GET", "ERR unknown command, or wrong arguments for it\n"),
    ]
    commands = "\n".join(command for command, _ in conversation)
    said = await output("redis-cli", "-p", str(port), text=commands.encode())
    expected = "".join(answer + "\n" for _, answer in conversation)
    assert said == expected, f"{said}\n---\n{expected}"
    said = await output("redis-cli", "-p", str(port), "INFO")
    assert "connected_clients:1\n" in said.replace("\r", ""), said
    said = await output("redis-cli", "-p", str(port), "-2", "HELLO")
    assert said == "server\nkv\nproto\n2\n", said
    print("  redis-cli")


async def with_benchmark(port):
    for pipeline in ["1", "64"]:
        command = ["redis-benchmark", "-p", str(port), "-n", "20000", "-c", "50", "-P", pipeline, "-q"]
        said = await output(*command, "-t", "ping,set,get,incr")
        assert len(re.findall("requests per second", said)) == 5 and "rror" not in said, said
        print(f"  redis-benchmark -P {pipeline}")


async def by_hand(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def said(expected):
        got = await asyncio.wait_for(reader.readexactly(len(expected)), DEADLINE)
        assert got == expected, got

    # The first command is answered though the second one is not complete.
    writer.write(b"PING\r\n*2\r\n$4\r\nECHO\r\n$5\r\nhe")
    await said(b"+PONG\r\n")
    writer.write(b"llo\r\n\r\nping\n")
    await said(b"$5\r\nhello\r\n+PONG\r\n")
    writer.write(b"PING\r\n*1\r\n$x\r\n")
    await said(b"+PONG\r\n-ERR Protocol error: invalid length, the limit is 1048576\r\n")
    assert await asyncio.wait_for(reader.read(), DEADLINE) == b""
    writer.close()
    for bad in [b"*2000\r\n", b"*1\r\n$2000000\r\n", b"*1\r\n+PING\r\n", b"x" * 1_100_000, b"*1\r\n$1\r\nxyz"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(bad)
        answer = await asyncio.wait_for(reader.read(), DEADLINE)
        assert answer.startswith(b"-ERR Protocol error: "), (bad[:20], answer)
        writer.close()
    print("  half a command, and no command at all")


def with_python(port):
    one, two = (redis.Redis(port=port, protocol=2, socket_timeout=DEADLINE) for _ in range(2))
    value = bytes(range(256)) * 1000
    assert one.set("binary", value) and two.get("binary") == value
    with one.pipeline(transaction=False) as pipeline:
        for number in range(5000):
            pipeline.incrby("sum", number)
        answers = pipeline.execute()
    assert answers == [number * (number + 1) // 2 for number in range(5000)]
    assert one.set("soon", "gone") and one.expire("soon", 1) and one.get("soon") == b"gone"
    end = time.monotonic() + DEADLINE
    while two.exists("soon"):
        assert time.monotonic() < end
        time.sleep(0.05)

    heard = one.pubsub()
    heard.subscribe("news", "sport")
    said = [heard.get_message(timeout=DEADLINE) for _ in range(2)]
    assert [(each["type"], each["channel"], each["data"]) for each in said] == [
        ("subscribe", b"news", 1), ("subscribe", b"sport", 2)], said
    for number in range(1000):
        assert two.publish("news", f"{number}") == 1
    for number in range(1000):
        message = heard.get_message(timeout=DEADLINE)
        assert (message["channel"], message["data"]) == (b"news", b"%d" % number), message
    heard.close()
    end = time.monotonic() + DEADLINE
    while two.publish("news", "is anybody there?"):
        assert time.monotonic() < end
        time.sleep(0.05)
    try:
        redis.Redis(port=port, protocol=3).ping()
        raise AssertionError("version 3 of the protocol")
    except redis.ResponseError as error:
        assert "NOPROTO" in str(error) or "version 2" in str(error), error
    print("  Python, with pipelines and channels")


def load(port, ends):
    """Counts until the server ends. Each batch is answered wholly, or not begun."""
    connection = redis.Redis(port=port, protocol=2, socket_timeout=DEADLINE)
    try:
        while True:
            with connection.pipeline(transaction=False) as pipeline:
                for _ in range(10):
                    pipeline.incr("count")
                pipeline.execute()
    except redis.ConnectionError as error:
        ends.append(str(error))


async def main():
    async with Server(example("kv"), "127.0.0.1:0") as server:
        await with_cli(server.port)
        await with_benchmark(server.port)
        await by_hand(server.port)
        await asyncio.to_thread(with_python, server.port)
        ends = []
        threads = [threading.Thread(target=load, args=(server.port, ends), daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        await asyncio.sleep(0.5)
        server.interrupt()
        status, log = await server.end()
        assert status == 0 and not re.search("ERROR", log), log
        for thread in threads:
            await asyncio.to_thread(thread.join, DEADLINE)
        assert len(ends) == 8 and not any("reset" in end for end in ends), ends
        print("  Ctrl-C under load: each connection ends, none is reset")


run(main())

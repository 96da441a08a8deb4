"""Drives the example `websocket` with the client of the `websockets` package."""

import asyncio
import os

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect as connect_blocking

from programs import DEADLINE, Server, example, run


async def echo(socket, message):
    await socket.send(message)
    return await asyncio.wait_for(socket.recv(), DEADLINE)


async def ended(socket):
    """How the server ended the connection."""
    try:
        while True:
            await asyncio.wait_for(socket.recv(), DEADLINE)
    except ConnectionClosed as closed:
        return closed


def send_too_much(uri):
    """How the server ends a connection in the midst of a message that is too long.

    Blocking, as Python 3.11's asyncio fails by itself when a transport that still had something to
    send at its end is aborted later, which `websockets` does: 'NoneType' has no 'call_soon'.
    """
    with connect_blocking(uri) as socket:
        try:
            socket.send(bytes(5 * 1024 * 1024))
            socket.recv(DEADLINE)
        except ConnectionClosed as closed:
            return closed


async def main():
    async with Server(example("websocket"), "127.0.0.1:0") as server:
        uri = f"ws://127.0.0.1:{server.port}"

        async with connect(uri, compression=None, max_size=None) as socket:
            for text in ["hello", "", "grüße, 🌍"]:
                assert await echo(socket, text) == text
            large = os.urandom(1024 * 1024)
            for data in [b"\0\xff", large]:
                assert await echo(socket, data) == data
            # A message in fragments comes back in one.
            pieces = [large[at : at + 10_000] for at in range(0, len(large), 10_000)]
            assert await echo(socket, pieces) == large
            assert await echo(socket, ["in ", "three ", "parts"]) == "in three parts"
            await asyncio.wait_for(await socket.ping(b"there?"), DEADLINE)
            # Several at once come back in order.
            for number in range(100):
                await socket.send(str(number))
            assert [await socket.recv() for _ in range(100)] == [str(number) for number in range(100)]
            print("  text, binary, 1 MiB, fragments, ping")
        assert socket.close_code == 1000, socket.close_code
        print("  closing handshake")

        closed = await asyncio.to_thread(send_too_much, uri)
        assert closed.rcvd.code == 1009, closed
        print("  too long a message")

        # Not a WebSocket at all, and one that vanishes: others don't notice.
        async with connect(uri) as witness:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"hello?\r\n\r\n")
            await writer.drain()
            writer.close()
            vanishing = await connect(uri)
            vanishing.transport.abort()
            assert await echo(witness, "still here") == "still here"

            several = [await connect(uri) for _ in range(5)]
            server.interrupt()
            for socket in [witness, *several]:
                closed = await ended(socket)
                assert closed.rcvd.code == 1001 and closed.rcvd_then_sent, closed
        status, _ = await server.end()
        assert status == 0, status
        print("  stopped while connected: 1001")


run(main())

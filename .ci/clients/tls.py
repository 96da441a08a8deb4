"""Drives the examples `tls_echo` and `starttls` with OpenSSL, curl and Python's own TLS."""

import asyncio
import os
import re
import socket
import ssl
import tempfile
import threading

from programs import DEADLINE, Server, example, run

PIPE = asyncio.subprocess.PIPE
LARGE = 8 * 1024 * 1024


async def output(*command, text=b""):
    """The output of a program that ends by itself."""
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    out, err = await asyncio.wait_for(process.communicate(text), DEADLINE)
    assert process.returncode == 0, (command, process.returncode, out, err)
    return out


async def s_client(port, certificate, *options):
    """Talks to the echo with OpenSSL, and gives all that it prints."""
    command = ["openssl", "s_client", "-connect", f"localhost:{port}", "-CAfile", certificate]
    command += ["-verify_return_error", *options]
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
    try:
        process.stdin.write(b"hello from openssl\n")
        seen = b""
        while b"\nhello from openssl\n" not in seen:
            more = await asyncio.wait_for(process.stdout.read(10_000), DEADLINE)
            assert more, (seen, await process.stderr.read())
            seen += more
        # The end of its input ends the connection.
        out, err = await asyncio.wait_for(process.communicate(b""), DEADLINE)
        assert process.returncode == 0, err
        return (seen + out).decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def echo_large(port, context):
    """Sends and receives at the same time."""
    reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
    data = os.urandom(LARGE)

    async def send():
        for at in range(0, LARGE, 100_000):
            writer.write(data[at : at + 100_000])
            await writer.drain()

    sending = asyncio.create_task(send())
    assert await asyncio.wait_for(reader.readexactly(LARGE), DEADLINE) == data
    await sending
    writer.close()
    await asyncio.wait_for(writer.wait_closed(), DEADLINE)


def unwrap(port, context, version, failures):
    """A blocking client, which waits for the end of TLS of the server."""
    try:
        with socket.create_connection(("localhost", port), DEADLINE) as plain:
            encrypted = context.wrap_socket(plain, server_hostname="localhost")
            assert encrypted.version() == version
            for size in [1, 16_384, 16_385, 300_000]:
                # It receives nothing while it sends, so the buffers of the sockets must have room for the echo.
                data, got = os.urandom(size), b""
                encrypted.sendall(data)
                while len(got) < size:
                    got += encrypted.recv(100_000)
                assert got == data
            # This waits for the server's end of TLS. The end of the connection follows.
            with encrypted.unwrap() as rest:
                assert rest.recv(1) == b""
    except BaseException as failure:
        failures.append(failure)


def unwrap_all(port, certificate):
    """Two clients at once, each on a thread of its own."""
    failures, threads = [], []
    for version, name in [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]:
        context = ssl.create_default_context(cafile=certificate)
        context.minimum_version = context.maximum_version = version
        threads.append(threading.Thread(target=unwrap, args=(port, context, name, failures)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures


async def drive_echo():
    async with Server(example("tls_echo"), "127.0.0.1:0") as server:
        line = await asyncio.wait_for(server.process.stdout.readline(), DEADLINE)
        certificate = re.fullmatch(r"certificate (.+)\n", line.decode())[1]
        port = server.port

        with tempfile.TemporaryDirectory() as folder:
            for option, version in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")]:
                session = os.path.join(folder, version)
                first = await s_client(port, certificate, option, "-sess_out", session)
                assert f"New, {version}" in first, first
                assert "Verify return code: 0 (ok)" in first, first
                again = await s_client(port, certificate, option, "-sess_in", session)
                assert f"Reused, {version}" in again, again
                print(f"  openssl, {version}, resumed")

        url = f"https://localhost:{port}/"
        page = await output("curl", "-sS", "--fail", "--cacert", certificate, url)
        assert b"server_name" in page and b"localhost" in page, page
        for option in ["--tlsv1.2", "--tlsv1.3"]:
            tls = [option, "--tls-max", option[-3:]]
            await output("curl", "-sS", "--fail", *tls, "--cacert", certificate, url)
        print("  curl")

        context = ssl.create_default_context(cafile=certificate)
        await asyncio.gather(echo_large(port, context), echo_large(port, context))
        await asyncio.to_thread(unwrap_all, port, certificate)
        print("  Python, 8 MB in both directions, unwrap")

        # An idle client at a stop gets the end of TLS, and not the end of the connection alone.
        reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
        writer.write(b"hello")
        assert await asyncio.wait_for(reader.readexactly(5), DEADLINE) == b"hello"
        server.interrupt()
        assert await asyncio.wait_for(reader.read(), DEADLINE) == b""
        writer.close()
        status, log = await server.end()
        assert status == 0, log
        assert not os.path.exists(certificate)
        reasons = re.findall(r"client \d+: (.*)", log)
        # Four times openssl, two connections of 8 MB, and two with unwrap.
        assert reasons.count("closed by the peer") == 8, log
        assert reasons.count("closed by the server") == 3, log
        assert len(reasons) == 12 and not re.search("ERROR|WARN", log), log
        print("  Ctrl-C")


async def drive_starttls():
    async with Server(example("starttls"), "127.0.0.1:0") as server:
        command = ["openssl", "s_client", "-connect", f"localhost:{server.port}", "-starttls", "smtp"]
        for option, version in [("-tls1_2", b"TLSv1_2"), ("-tls1_3", b"TLSv1_3")]:
            said = await output(*command, option, "-quiet", "-crlf", text=b"NOOP\nSTARTTLS\nQUIT\n")
            expected = b"250 Some(%s)\r\n502 not here\r\n221 goodbye\r\n" % version
            assert said.endswith(expected), said
        server.interrupt()
        status, log = await server.end()
        assert status == 0 and not re.search("ERROR|WARN", log), log
        print("  starttls")


async def main():
    await drive_echo()
    await drive_starttls()


run(main())

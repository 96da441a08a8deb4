"""Drives the examples `behind_proxy` and `tls_echo` through the real HAProxy.

A case is a way to speak the PROXY protocol. In a case of TLS, either the client or HAProxy encrypts.
"""

import asyncio
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile

from programs import DEADLINE, Server, example, run

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/sbin")

# The sections of a configuration. HAProxy chooses a free port, which it prints.
CONFIGURATION = """
global
    stats socket {folder}/stats
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
frontend clients
    bind {bind}
    unique-id-format %ci:%cp
    default_backend servers
backend servers
    server one 127.0.0.1:{port} {options}
"""

CASES = [
    ("version 1", "127.0.0.1", "send-proxy"),
    ("version 1, with checks", "127.0.0.1", "send-proxy check inter 100"),
    ("version 2", "127.0.0.1", "send-proxy-v2"),
    ("version 2, with checks", "127.0.0.1", "send-proxy-v2 check inter 100"),
    ("version 2, with fields", "127.0.0.1", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"),
    ("version 1, IPv6", "::1", "send-proxy check inter 100"),
    ("version 2, IPv6", "::1", "send-proxy-v2 check inter 100"),
]


# Who encrypts, and the options of the server.
TLS_CASES = [
    ("version 2, TLS of the client", True, "send-proxy-v2 check inter 100"),
    ("version 1, TLS of the client", True, "send-proxy check inter 100"),
    ("version 2, TLS of HAProxy", False, "send-proxy-v2 ssl sni str(localhost) check inter 100 {verify}"),
]


def free_port(ip):
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((ip, 0))
        return probe.getsockname()[1]


class Balancer:
    """HAProxy in front of a server. It is killed if the test fails."""

    def __init__(self, ip, port, options):
        self.ip, self.port, self.options = ip, port, options

    async def __aenter__(self):
        self.folder = tempfile.mkdtemp(prefix="backport-haproxy-")
        # Another process may take the port before HAProxy does.
        for _ in range(5):
            self.front = free_port(self.ip)
            bind = f"{self.ip}:{self.front}"
            path = os.path.join(self.folder, "haproxy.cfg")
            with open(path, "w") as file:
                text = CONFIGURATION.format(folder=self.folder, bind=bind, port=self.port, options=self.options)
                file.write(text)
            self.process = await asyncio.create_subprocess_exec(HAPROXY, "-db", "-q", "-f", path)
            if await self.answers():
                return self
        raise AssertionError("HAProxy does not start")

    async def answers(self):
        for _ in range(10 * DEADLINE):
            if self.process.returncode is not None:
                return False
            try:
                self.state()
                return True
            except OSError:
                await asyncio.sleep(0.1)
        self.process.kill()
        await self.process.wait()
        return False

    def state(self):
        """The row of the server in HAProxy's statistics."""
        with socket.socket(socket.AF_UNIX) as stats:
            stats.settimeout(DEADLINE)
            stats.connect(os.path.join(self.folder, "stats"))
            stats.sendall(b"show stat\n")
            text = b""
            while part := stats.recv(65536):
                text += part
        names, *rows = text.decode().lstrip("# ").splitlines()
        rows = [dict(zip(names.split(","), row.split(","))) for row in rows if row]
        [row] = [row for row in rows if row["svname"] == "one"]
        return row

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        shutil.rmtree(self.folder)


async def talk(ip, port):
    """What the server says of a client, and the client's own address."""
    reader, writer = await asyncio.wait_for(asyncio.open_connection(ip, port), DEADLINE)
    try:
        said = await asyncio.wait_for(reader.readline(), DEADLINE)
        host, own = writer.get_extra_info("sockname")[:2]
    finally:
        writer.close()
        await writer.wait_closed()
    return said.decode(), f"[{host}]:{own}" if ":" in host else f"{host}:{own}"


async def checked(balancer, seconds):
    """Waits until HAProxy has had time for several checks of its server, which must stay up."""
    # A connection that is closed at once is a failed check for HAProxy.
    for _ in range(10 * DEADLINE):
        state = balancer.state()
        assert state["status"].startswith("UP"), state["status"]
        # L6 is the handshake of TLS.
        if re.search("L[46]OK", state["check_status"]):
            break
        await asyncio.sleep(0.1)
    else:
        raise AssertionError("HAProxy has checked nothing")
    await asyncio.sleep(seconds)
    state = balancer.state()
    assert (state["status"], state["chkfail"], state["chkdown"]) == ("UP", "0", "0"), state


async def case(name, ip, options):
    async with Server(example("behind_proxy"), "127.0.0.1:0", log="debug") as server:
        async with Balancer(ip, server.port, options) as balancer:
            for _ in range(20):
                said, own = await talk(ip, balancer.front)
                found = re.fullmatch(r"You are (.*), by the proxy 127\.0\.0\.1:\d+\.\n", said)
                assert found and found[1] == own, f"{own} is told {said!r}"
            if "check" in options:
                await checked(balancer, 1)
        server.interrupt()
        status, log = await server.end()
        assert status == 0, status
        assert "WARN" not in log and "ERROR" not in log, log
        # The checks are connections, too.
        opened = log.count("its proxy is")
        assert opened >= 20 + ("check" in options) * 3, f"{opened} connections:\n{log}"
    print(f"  {name}")


async def get(ip, port, tls):
    """The page of the example `tls_echo`, and the client's own address."""
    name = "localhost" if tls else None
    opening = asyncio.open_connection(ip, port, ssl=tls, server_hostname=name)
    reader, writer = await asyncio.wait_for(opening, DEADLINE)
    own = "{}:{}".format(*writer.get_extra_info("sockname"))
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    page = await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
    return page.decode(), own


async def tls_case(name, of_client, options):
    async with Server(example("tls_echo"), "127.0.0.1:0", "behind-proxy", log="debug") as server:
        line = await asyncio.wait_for(server.process.stdout.readline(), DEADLINE)
        certificate = re.fullmatch(r"certificate (.+)\n", line.decode())[1]
        options = options.format(verify=f"verify required ca-file {certificate} verifyhost localhost")
        async with Balancer("127.0.0.1", server.port, options) as balancer:
            tls = ssl.create_default_context(cafile=certificate) if of_client else None
            for _ in range(20):
                page, own = await get("127.0.0.1", balancer.front, tls)
                assert f"You are {own}.\n" in page, (own, page)
                assert 'server_name: Some' in page and "TLSv1_3" in page, page
            await checked(balancer, 1)
        server.interrupt()
        status, log = await server.end()
        assert status == 0 and "WARN" not in log and "ERROR" not in log, log
        assert log.count("its proxy is") >= 20, log
    print(f"  {name}")


async def strangers():
    """A client without a header is closed, and told nothing."""
    async with Server(example("behind_proxy"), "127.0.0.1:0", log="debug") as server:
        # curl speaks HTTP.
        curl = await asyncio.create_subprocess_exec(
            "curl", "-s", "-m", str(DEADLINE), f"http://127.0.0.1:{server.port}/",
            stdout=subprocess.PIPE)
        output, _ = await curl.communicate()
        assert curl.returncode != 0 and output == b"", (curl.returncode, output)
        server.interrupt()
        status, log = await server.end()
        assert status == 0 and "does not begin with a PROXY header" in log, log
        assert "WARN" not in log, log
    print("  HTTP instead of a header")


async def main():
    if HAPROXY is None:
        sys.exit("there is no HAProxy")
    for each in CASES:
        await case(*each)
    for each in TLS_CASES:
        await tls_case(*each)
    await strangers()


run(main())

"""Drives the example `lsp` with the client of the `pygls` package, and with bytes of its own."""

import asyncio
import json

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient

from programs import DEADLINE, Server, example, run

URI = "file:///notes.txt"
TEXT = "TODO: say hello\r\n🌍 naïve naïve \r\nzero\u200bwidth\n"


class Client(LanguageClient):
    """Keeps the diagnostics that are published."""

    def __init__(self):
        super().__init__("driver", "1")
        self.published = asyncio.Queue()

        @self.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def keep(diagnostics):
            self.published.put_nowait(diagnostics)

    async def diagnostics(self):
        return await asyncio.wait_for(self.published.get(), DEADLINE)

    async def hover(self, line, character):
        place = lsp.HoverParams(lsp.TextDocumentIdentifier(URI), lsp.Position(line, character))
        return await asyncio.wait_for(self.text_document_hover_async(place), DEADLINE)


def seen(diagnostic):
    start, end = diagnostic.range.start, diagnostic.range.end
    return start.line, start.character, end.character, diagnostic.message, diagnostic.severity


async def refused(code, request):
    try:
        answer = await asyncio.wait_for(request, DEADLINE)
    except JsonRpcException as error:
        assert error.code == code, error
    else:
        raise AssertionError(f"not refused with {code}: {answer}")


async def session(client):
    """A session as the specification has it, up to the shutdown."""
    await refused(-32002, client.text_document_hover_async(lsp.HoverParams(lsp.TextDocumentIdentifier(URI), lsp.Position(0, 0))))
    initialize = lsp.InitializeParams(capabilities=lsp.ClientCapabilities())
    answer = await client.initialize_async(initialize)
    assert answer.capabilities.position_encoding == lsp.PositionEncodingKind.Utf16
    assert answer.capabilities.text_document_sync == lsp.TextDocumentSyncKind.Full
    assert answer.capabilities.hover_provider is True
    client.initialized(lsp.InitializedParams())
    await refused(-32600, client.initialize_async(initialize))

    client.text_document_did_open(
        lsp.DidOpenTextDocumentParams(lsp.TextDocumentItem(URI, "plaintext", 1, TEXT))
    )
    published = await client.diagnostics()
    assert (published.uri, published.version) == (URI, 1), published
    assert [seen(diagnostic) for diagnostic in published.diagnostics] == [
        (0, 0, 15, "TODO: say hello", lsp.DiagnosticSeverity.Information),
        (1, 14, 15, "blanks at the end of the line", lsp.DiagnosticSeverity.Hint),
        (2, 4, 5, "U+200B is not visible", lsp.DiagnosticSeverity.Warning),
    ], published

    # The globe takes two units, and either of them is the globe.
    for character in [0, 1]:
        hover = await client.hover(1, character)
        assert hover.contents.value == "U+1F30D: 4 bytes in UTF-8, 2 units in UTF-16", hover
        assert hover.range == lsp.Range(lsp.Position(1, 0), lsp.Position(1, 2)), hover
    hover = await client.hover(1, 9)
    assert hover.contents.value == "naïve: 2 × in this text, line 2", hover
    assert hover.range == lsp.Range(lsp.Position(1, 9), lsp.Position(1, 14)), hover
    assert await client.hover(99, 0) is None

    change = lsp.TextDocumentContentChangeWholeDocument("<<<<<<< HEAD\nfine\n")
    client.text_document_did_change(
        lsp.DidChangeTextDocumentParams(lsp.VersionedTextDocumentIdentifier(2, URI), [change])
    )
    published = await client.diagnostics()
    assert published.version == 2 and [seen(diagnostic) for diagnostic in published.diagnostics] == [
        (0, 0, 12, "a conflict that is not resolved", lsp.DiagnosticSeverity.Error)
    ], published

    await refused(-32601, client.protocol.send_request_async("notes/unknown", {}))
    client.protocol.notify("notes/unknown", {})
    client.cancel_request(lsp.CancelParams(id=1))
    client.text_document_did_close(lsp.DidCloseTextDocumentParams(lsp.TextDocumentIdentifier(URI)))
    assert len((await client.diagnostics()).diagnostics) == 0
    assert await client.hover(0, 0) is None

    assert await client.shutdown_async(None) is None
    await refused(-32600, client.text_document_hover_async(lsp.HoverParams(lsp.TextDocumentIdentifier(URI), lsp.Position(0, 0))))


async def stdio():
    client = Client()
    await client.start_io(example("lsp"))
    await session(client)
    client.exit(None)
    assert await asyncio.wait_for(client._server.wait(), DEADLINE) == 0
    await client.stop()
    print("  a session on stdio")


async def tcp():
    async with Server(example("lsp"), "--tcp", "127.0.0.1:0") as server:
        clients = [Client(), Client()]
        for client in clients:
            await client.start_tcp("127.0.0.1", server.port)
        # Each with a session of its own, at once.
        await asyncio.gather(*(session(client) for client in clients))
        for client in clients:
            client.exit(None)
            await asyncio.wait_for(asyncio.gather(*client._async_tasks), DEADLINE)
        server.interrupt()
        assert (await server.end())[0] == 0
    print("  two sessions on TCP")


def frame(message):
    body = message if isinstance(message, bytes) else json.dumps(message).encode()
    return b"Content-Length: %d\r\nContent-Type: application/vscode-jsonrpc; charset=utf-8\r\n\r\n%s" % (len(body), body)


def message(method, id=None, params=None):
    return {"jsonrpc": "2.0", "method": method} | ({"id": id} if id is not None else {}) | ({"params": params} if params else {})


async def raw(status, *messages):
    """What the server answers to these bytes and the end of its input, and that it ends with `status`."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(example("lsp"), stdin=pipe, stdout=pipe)
    said, _ = await asyncio.wait_for(process.communicate(b"".join(map(frame, messages))), DEADLINE)
    assert process.returncode == status, (process.returncode, status, messages)
    answers = []
    while said:
        head, _, rest = said.partition(b"\r\n\r\n")
        length = int(head.removeprefix(b"Content-Length: "))
        answer, said = json.loads(rest[:length]), rest[length:]
        answers.append((answer.get("id"), answer.get("error", {}).get("code"), answer.get("result")))
    return answers


async def out_of_turn():
    hello = message("initialize", 1, {"capabilities": {}})
    shutdown, leave = message("shutdown", "two"), message("exit")
    # `exit` without `shutdown` is an error, as is the end of input; before `initialize` too.
    assert len(await raw(1, hello, leave)) == 1
    assert await raw(1, leave) == []
    assert await raw(1) == []
    assert len(await raw(1, hello, message("initialized"))) == 1
    assert [answer[0] for answer in await raw(0, hello, shutdown, leave)] == [1, "two"]
    assert (await raw(0, hello, shutdown))[-1] == ("two", None, None)
    # Nothing after `exit` is read.
    assert len(await raw(0, hello, shutdown, leave, message("shutdown", 3))) == 2
    assert [answer[:2] for answer in await raw(
        1,
        message("shutdown", 1),
        message("textDocument/didOpen"),
        b"{ not JSON",
        b"\xff",
        [hello],
        {"jsonrpc": "2.0", "id": 7},
        {"jsonrpc": "2.0", "id": 8, "result": None},
        hello,
        message("textDocument/hover", 9, {"no": "position"}),
        message("textDocument/didOpen", params={"no": "document"}),
        message("$/cancelRequest", params={"id": 1}),
        message("$/unknown", 10),
    )] == [(1, -32002), (None, -32700), (None, -32700), (None, -32600), (None, -32600), (1, None), (9, -32602), (10, -32601)]
    print("  out of turn")


async def main():
    await stdio()
    await tcp()
    await out_of_turn()


run(main())

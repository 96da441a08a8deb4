"""Drives the example `lsp` with the client of the `pygls` package, and with bytes of its own."""

import asyncio
import itertools
import json
import signal

from lsprotocol import types as lsp
from pygls.exceptions import JsonRpcException
from pygls.lsp.client import LanguageClient

from programs import DEADLINE, Server, example, run

URI = "file:///notes.txt"
TEXT = "fine\r\n🌍 naïve naïve \r\nzero\rmore\t\n"
#: So many lines that no computer compares them all within the deadlines.
MUCH = "a line\n" * 100_000


class Client(LanguageClient):
    """Keeps the diagnostics that are published, and the edits that it is asked to make."""

    def __init__(self, applies=True):
        super().__init__("driver", "1")
        self.published = asyncio.Queue()
        self.edits = asyncio.Queue()
        #: If it is cleared, no edit is answered.
        self.may_answer = asyncio.Event()
        self.may_answer.set()

        @self.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
        def keep(diagnostics):
            self.published.put_nowait(diagnostics)

        @self.feature(lsp.WORKSPACE_APPLY_EDIT)
        async def apply(params):
            self.edits.put_nowait(params.edit)
            await self.may_answer.wait()
            return lsp.ApplyWorkspaceEditResult(applied=applies)

    async def diagnostics(self):
        return await asyncio.wait_for(self.published.get(), DEADLINE)

    def run(self, command, uri=URI):
        """Sends the request at once, and gives its id and the future of its answer."""
        id = f"run-{next(numbers)}"
        answer = self.protocol.send_request_async(
            lsp.WORKSPACE_EXECUTE_COMMAND, lsp.ExecuteCommandParams(command, [uri]), msg_id=id)
        return id, asyncio.ensure_future(asyncio.wait_for(answer, DEADLINE))

    def open(self, text, uri=URI):
        self.text_document_did_open(lsp.DidOpenTextDocumentParams(lsp.TextDocumentItem(uri, "plaintext", 1, text)))


numbers = itertools.count()


def seen(diagnostic):
    start, end = diagnostic.range.start, diagnostic.range.end
    return start.line, start.character, end.character, diagnostic.severity


async def refused(code, request):
    try:
        answer = await asyncio.wait_for(request, DEADLINE)
    except JsonRpcException as error:
        assert error.code == code, error
    else:
        raise AssertionError(f"not refused with {code}: {answer}")


async def session(client):
    """A session as the specification has it, up to the shutdown."""
    await refused(-32002, client.run("notes.tidy")[1])
    initialize = lsp.InitializeParams(capabilities=lsp.ClientCapabilities())
    answer = await client.initialize_async(initialize)
    assert answer.capabilities.text_document_sync == lsp.TextDocumentSyncKind.Full
    assert list(answer.capabilities.execute_command_provider.commands) == ["notes.tidy", "notes.alike"]
    client.initialized(lsp.InitializedParams())
    await refused(-32600, client.initialize_async(initialize))

    client.open(TEXT)
    published = await client.diagnostics()
    assert published.uri == URI, published
    # The globe takes two units.
    hint = lsp.DiagnosticSeverity.Hint
    assert [seen(found) for found in published.diagnostics] == [(1, 14, 15, hint), (3, 4, 5, hint)], published

    # The server asks the client to make the edits before it answers.
    assert await client.run("notes.tidy")[1] is True
    change, = client.edits.get_nowait().document_changes
    assert change.text_document == lsp.OptionalVersionedTextDocumentIdentifier(URI, 1), change
    assert [(edit.range.start.line, edit.range.start.character, edit.new_text) for edit in change.edits] == [
        (1, 14, ""), (3, 4, "")], change
    assert await client.run("notes.alike")[1] == [2, 3]

    change = lsp.TextDocumentContentChangeWholeDocument("one\nabcd\ntwo\nabce")
    client.text_document_did_change(
        lsp.DidChangeTextDocumentParams(lsp.VersionedTextDocumentIdentifier(2, URI), [change])
    )
    assert len((await client.diagnostics()).diagnostics) == 0
    assert await client.run("notes.alike")[1] == [1, 3]

    await refused(-32601, client.protocol.send_request_async("notes/unknown", {}))
    await refused(-32602, client.run("notes.unknown")[1])
    await refused(-32602, client.run("notes.tidy", "file:///unknown")[1])
    client.protocol.notify("notes/unknown", {})
    await cancellations(client)
    client.text_document_did_close(lsp.DidCloseTextDocumentParams(lsp.TextDocumentIdentifier(URI)))
    assert len((await client.diagnostics()).diagnostics) == 0
    await refused(-32602, client.run("notes.tidy")[1])

    assert await client.shutdown_async(None) is None
    await refused(-32600, client.run("notes.tidy")[1])


async def cancellations(client):
    client.open(MUCH, "file:///much")
    await client.diagnostics()
    # A request that computes, while others are answered.
    id, answer = client.run("notes.alike", "file:///much")
    assert await client.run("notes.alike")[1] == [1, 3]
    client.cancel_request(lsp.CancelParams(id=id))
    await refused(-32800, answer)
    # A request that waits for the client, whose answer then comes too late.
    client.may_answer.clear()
    id, answer = client.run("notes.tidy")
    await asyncio.wait_for(client.edits.get(), DEADLINE)
    client.cancel_request(lsp.CancelParams(id=id))
    await refused(-32800, answer)
    # A client that never answers.
    id, answer = client.run("notes.tidy")
    await asyncio.wait_for(client.edits.get(), DEADLINE)
    await refused(-32803, answer)
    client.may_answer.set()
    # Of a request that is answered, and of one that never was.
    for id in [id, "unknown", 7]:
        client.cancel_request(lsp.CancelParams(id=id))
    # Too many at once. Each of them is still cancelled.
    running = [client.run("notes.alike", "file:///much") for _ in range(8)]
    await refused(-32803, client.run("notes.alike")[1])
    for id, _ in running:
        client.cancel_request(lsp.CancelParams(id=id))
    for _, answer in running:
        await refused(-32800, answer)
    # The answer and the cancellation at once: exactly one answer, which is one or the other. A second answer to an
    # id is an error that the client reports.
    for _ in range(50):
        id, answer = client.run("notes.alike")
        client.cancel_request(lsp.CancelParams(id=id))
        try:
            assert await answer == [1, 3]
        except JsonRpcException as error:
            # Workers that have just answered may still count.
            assert error.code in [-32800, -32803], error


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


class Raw:
    """The example on standard input, and messages as they are."""

    async def __aenter__(self):
        pipe = asyncio.subprocess.PIPE
        self.process = await asyncio.create_subprocess_exec(example("lsp"), stdin=pipe, stdout=pipe)
        return self

    async def __aexit__(self, *_):
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def send(self, *messages):
        for message in messages:
            self.process.stdin.write(frame(message))

    async def receive(self):
        """The next message, or None at the end."""
        try:
            head = await asyncio.wait_for(self.process.stdout.readuntil(b"\r\n\r\n"), DEADLINE)
        except asyncio.IncompleteReadError as rest:
            assert rest.partial == b"", rest
            return None
        length = int(head.removeprefix(b"Content-Length: "))
        return json.loads(await self.process.stdout.readexactly(length))

    async def receive_all(self):
        messages = []
        while (message := await self.receive()) is not None:
            messages.append(message)
        return messages

    async def end(self, status):
        assert await asyncio.wait_for(self.process.wait(), DEADLINE) == status, self.process.returncode


def short(message):
    """The id of an answer, its code and its result."""
    assert "method" not in message, message
    return message["id"], message.get("error", {}).get("code"), message.get("result")


async def raw(status, *messages):
    """What the server answers to these messages and the end of its input, and that it ends with `status`."""
    async with Raw() as server:
        server.send(*messages)
        server.process.stdin.write_eof()
        answers = [short(answer) for answer in await server.receive_all()]
        await server.end(status)
        return answers


HELLO = message("initialize", 1, {"capabilities": {}})
SHUTDOWN, LEAVE = message("shutdown", "two"), message("exit")


def opened(text):
    return message("textDocument/didOpen", params={"textDocument": {"uri": URI, "version": 1, "text": text}})


def command(id, name):
    return message("workspace/executeCommand", id, {"command": name, "arguments": [URI]})


async def out_of_turn():
    # `exit` without `shutdown` is an error, before `initialize` too. The end of input is none.
    assert len(await raw(1, HELLO, LEAVE)) == 1
    assert await raw(1, LEAVE) == []
    assert await raw(0) == []
    assert [answer[0] for answer in await raw(0, HELLO, SHUTDOWN, LEAVE)] == [1, "two"]
    # Nothing after `exit` is read, and nothing after bytes that are no message.
    assert len(await raw(0, HELLO, SHUTDOWN, LEAVE, message("shutdown", 3))) == 2
    for bytes in [b"{ not JSON", b"\xff", b"[]", b"null"]:
        assert len(await raw(1, HELLO, bytes, SHUTDOWN)) == 1
    assert [answer[:2] for answer in await raw(
        0,
        message("shutdown", 1),
        opened("before initialize "),
        {"jsonrpc": "2.0"},
        # Answers to no question.
        {"jsonrpc": "2.0", "id": 8, "result": None},
        {"jsonrpc": "2.0", "id": "9", "error": {"code": 1, "message": "no"}},
        HELLO,
        command(9, "notes.tidy"),
        message("textDocument/didOpen", params={"no": "document"}),
        message("$/cancelRequest", params={"id": 1}),
        message("$/cancelRequest", params={"no": "id"}),
        message("$/unknown", 10),
    )] == [(1, -32002), (None, -32600), (1, None), (9, -32602), (10, -32601)]
    print("  out of turn")


async def races():
    """Each request gets exactly one answer, whether its cancellation comes before the answer, after it or with it."""
    async with Raw() as server:
        server.send(HELLO, opened(""))
        await server.receive()
        await server.receive()
        codes = set()
        for id in range(300):
            server.send(command(id, "notes.alike"), message("$/cancelRequest", params={"id": id}))
            got, code, result = short(await server.receive())
            assert got == id and (code == -32800 or (code, result) == (None, [0, 0])), (got, code, result)
            codes.add(code)
        # There is no second answer before this one.
        server.send(SHUTDOWN, LEAVE)
        assert short(await server.receive()) == ("two", None, None)
        assert await server.receive() is None
        await server.end(0)
    print(f"  300 cancellations together with the answer: {codes}")


async def pending(server):
    """A request that computes, and one that waits for the client."""
    server.send(HELLO, opened(MUCH), command(2, "notes.alike"), command(3, "notes.tidy"))
    assert short(await server.receive())[:2] == (1, None)
    assert (await server.receive())["method"] == "textDocument/publishDiagnostics"
    question = await server.receive()
    assert question["method"] == "workspace/applyEdit", question
    return question["id"]


async def ends():
    # The end of input cuts no answer off, neither that of a computation nor that of a request without a hope.
    async with Raw() as server:
        server.send(HELLO, opened("a\n" * 2000 + "b \n"), command(2, "notes.alike"), command(3, "notes.tidy"))
        server.process.stdin.write_eof()
        answers = [short(answer) for answer in await server.receive_all() if "method" not in answer]
        assert sorted(answers)[1:] == [(2, None, [1998, 1999]), (3, -32803, None)], answers
        await server.end(0)
    # A stop lets the client answer. The computation ends.
    async with Raw() as server:
        question = await pending(server)
        server.process.send_signal(signal.SIGINT)
        assert short(await server.receive())[:2] == (2, -32803)
        server.send(command(4, "notes.tidy"), {"jsonrpc": "2.0", "id": question, "result": {"applied": True}})
        assert sorted([short(answer) for answer in await server.receive_all()]) == [(3, None, True), (4, -32803, None)]
        await server.end(0)
    # A stop with a client that never answers.
    async with Raw() as server:
        await pending(server)
        server.process.send_signal(signal.SIGINT)
        assert [short(answer)[:2] for answer in await server.receive_all()] == [(2, -32803), (3, -32803)]
        await server.end(0)
    # A client that leaves while requests are pending in both directions, in an orderly way and at once.
    async with Raw() as server:
        await pending(server)
        server.send(SHUTDOWN, LEAVE)
        assert short(await server.receive()) == ("two", None, None)
        await server.end(0)
    async with Server(example("lsp"), "--tcp", "127.0.0.1:0") as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"".join(map(frame, [HELLO, opened(MUCH), command(2, "notes.alike"), command(3, "notes.tidy")])))
        await asyncio.wait_for(reader.readuntil(b"workspace/applyEdit"), DEADLINE)
        writer.transport.abort()
        server.interrupt()
        status, log = await server.end()
        assert status == 0 and "panic" not in log, (status, log)
    print("  the end of input, a stop, an exit and a reset while requests are pending in both directions")


async def main():
    await stdio()
    await tcp()
    await out_of_turn()
    await races()
    await ends()


run(main(), deadline=7 * DEADLINE)

#!/usr/bin/env python3
"""Compares the framings with decoders of their own, written from the specifications:

    decoders.py SEED COUNT SPEC=PORT...

Sends COUNT random streams, split at random, to each port, whose server answers with the frames that
it sees, with each of them encoded, and with what ended the stream. The test in python.rs starts it.

- content-length: Language Server Protocol 3.17, "Base Protocol": header fields that end with CRLF, an
  empty line, a body of as many bytes as Content-Length says. Fields follow RFC 9110, section 5: names
  are tokens, their case does not matter, blanks may surround the value, and not the name. The first
  byte after which no header can follow decides what is wrong.
- length: an unsigned number in the byte orders of the struct module, then as many bytes.
- delimited, lines: up to a sequence of bytes; the last line may lack its end (POSIX would call it an
  incomplete line), and a CR before the LF belongs to the end.
- returns: lines that also end at CR, with the LF or NUL after it (RFC 854).
"""

import io
import os
import random
import re
import socket
import struct
import sys

HEAD_LIMIT = 8 * 1024
DEADLINE = 20


class Bad(Exception):
    """The stream breaks off or breaks the rules."""


class Lines:
    def __init__(self, limit):
        self.limit = int(limit)

    def decode(self, stream):
        for line in io.BytesIO(stream):
            line = re.sub(rb"\r?\n\Z|\r\Z", b"", line)
            if len(line) > self.limit:
                raise Bad("too long")
            yield line

    def encode(self, payload):
        if len(payload) > self.limit or b"\n" in payload or payload[-1:] == b"\r":
            return None
        return payload + b"\n"


class Returns(Lines):
    def decode(self, stream):
        *lines, rest = re.split(rb"\r\n|\r\0|\r|\n", stream)
        for line in lines + [rest] * (rest != b""):
            if len(line) > self.limit:
                raise Bad("too long")
            yield line

    def encode(self, payload):
        return None if b"\r" in payload else super().encode(payload)


class Delimited:
    def __init__(self, limit, delimiter):
        self.limit, self.delimiter = int(limit), bytes.fromhex(delimiter)

    def decode(self, stream):
        *frames, rest = stream.split(self.delimiter)
        for frame in frames:
            if len(frame) > self.limit:
                raise Bad("too long")
            yield frame
        ends = range(len(self.delimiter))
        begun = max(size for size in ends if rest.endswith(self.delimiter[:size]))
        if len(rest) - begun > self.limit:
            raise Bad("too long")
        if rest:
            raise Bad("truncated")

    def encode(self, payload):
        encoded = payload + self.delimiter
        if len(payload) > self.limit or encoded.split(self.delimiter) != [payload, b""]:
            return None
        return encoded


class Length:
    def __init__(self, limit, width, order):
        self.limit = int(limit)
        self.number = struct.Struct({"big": ">", "little": "<"}[order] + {"1": "B", "2": "H", "4": "I", "8": "Q"}[width])

    def decode(self, stream):
        stream = io.BytesIO(stream)
        while prefix := stream.read(self.number.size):
            # Zeros are the least that can follow.
            (length,) = self.number.unpack(prefix.ljust(self.number.size, b"\0"))
            if length > self.limit:
                raise Bad("too long")
            if len(prefix) < self.number.size:
                raise Bad("truncated")
            payload = stream.read(length)
            if len(payload) < length:
                raise Bad("truncated")
            yield payload

    def encode(self, payload):
        if len(payload) > self.limit or len(payload) >= 256**self.number.size:
            return None
        return self.number.pack(len(payload)) + payload


# The beginnings of header lines.
FIELD = re.compile(rb"[\w!#$%&'*+.^`|~-]+(?::[\t -~\x80-\xff]*(?:\r\n?)?)?", re.ASCII)
COUNT = re.compile(rb"(?i:content-length):[ \t]*(?:([0-9]+)([ \t]*(?:\r\n?)?))?")


class ContentLength:
    def __init__(self, limit):
        self.limit = int(limit)

    def decode(self, stream):
        while stream:
            start, length = self.head(stream)
            if len(stream) < start + length:
                raise Bad("truncated")
            yield stream[start : start + length]
            stream = stream[start + length :]

    def head(self, stream):
        """Where the head ends, and the length in it; each prefix of the head is looked at."""
        at, length = 0, None
        for end in range(1, len(stream) + 1):
            line = stream[at:end]
            if at and line in (b"\r", b"\r\n"):
                if length is None:
                    raise Bad("malformed")
                least = at + 2
                if line == b"\r\n":
                    return end, length
            elif not FIELD.fullmatch(line):
                raise Bad("malformed")
            elif re.match(rb"(?i:content-length):", line):
                count = COUNT.fullmatch(line)
                if not count:
                    raise Bad("malformed")
                if count[1]:
                    self.digits(count[1], count[2], length)
                    length = int(count[1]) if count[2] else length
                least = len(line.rstrip(b"\r\n")) + at + (4 if count[1] else 5)
            else:
                least = len(line.rstrip(b"\r\n")) + at + (4 if b":" in line else 5)
            if least > HEAD_LIMIT:
                raise Bad("too long")
            if line.endswith(b"\n"):
                at = end
        raise Bad("truncated")

    def digits(self, digits, after, length):
        significant = digits.lstrip(b"0")
        if length is not None and not str(length).encode().startswith(significant):
            raise Bad("malformed")
        if int(digits) > self.limit:
            raise Bad("too long")
        if after and length not in (None, int(digits)):
            raise Bad("malformed")

    def encode(self, payload):
        if len(payload) > self.limit:
            return None
        return b"Content-Length: %d\r\n\r\n%s" % (len(payload), payload)


KINDS = {"lines": Lines, "returns": Returns, "delimited": Delimited, "length": Length, "content-length": ContentLength}


def decode(framing, stream):
    """The frames, and how it ended."""
    frames = []
    try:
        for frame in framing.decode(stream):
            frames.append(frame)
    except Bad as bad:
        return frames, str(bad)
    return frames, "end"


HEADERS = [
    b"Content-Type: application/vscode-jsonrpc; charset=utf-8",
    b"X-Other: a:b",
    b"X-Empty:",
    b"X-Latin: \xe9",
]
WRONG = [b"Content-Length : 3", b"Content-Length: -1", b"Content-Length:", b"no colon", b""]
WRONG += [b"Content-Length: 3\nX: y", b"Content-Length: 3\r\r\nX: y", b'{"jsonrpc":"2.0"}\n', b" folded", b"X: \0"]


def a_payload(rng, framing):
    size = rng.choice([0, 1, 2, rng.randint(0, framing.limit), framing.limit, framing.limit + 1])
    letters = rng.choice([b"x", b"ab\r\n.-", b"ab\r\0\n", bytes(range(256)), getattr(framing, "delimiter", b"\n")])
    return bytes(rng.choices(letters, k=size))


def a_message(rng, framing):
    """A message, as other programs may write it too."""
    payload = a_payload(rng, framing)
    encoded = framing.encode(payload) or payload
    if isinstance(framing, Lines) and rng.random() < 0.5:
        return payload.replace(b"\n", b"\r\n") + b"\r\n"
    if isinstance(framing, ContentLength) and rng.random() < 0.6:
        name = rng.choice([b"Content-Length", b"content-length", b"CONTENT-LENGTH"])
        length = name + rng.choice([b": %d", b":%d", b":\t%04d \t"]) % len(payload)
        fields = [length] + rng.sample(HEADERS, rng.randint(0, 2)) + [length] * (rng.random() < 0.1)
        if rng.random() < 0.05:
            fields.append(rng.choice(WRONG))
        if rng.random() < 0.02:
            fields.append(b"X-Long: " + b"x" * (HEAD_LIMIT - rng.randint(0, 99)))
        rng.shuffle(fields)
        return b"\r\n".join(fields) + b"\r\n\r\n" + payload
    return encoded


def a_stream(rng, framing):
    messages = [a_message(rng, framing) for _ in range(rng.randint(0, 12))]
    stream = bytearray(b"".join(messages))
    if stream and rng.random() < 0.3:
        stream = stream[: rng.randint(0, len(stream))]
    if stream and rng.random() < 0.1:
        stream[rng.randrange(len(stream))] = rng.randrange(256)
    return bytes(stream)


def converse(port, stream, rng):
    """Sends the stream in pieces, and reads the whole answer."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        most = rng.choice([1, 7, 50, 1000, 100_000])
        while stream:
            size = rng.randint(max(1, most // 2), most)
            try:
                peer.sendall(stream[:size])
            except (BrokenPipeError, ConnectionResetError):
                break
            stream = stream[size:]
            os.sched_yield()
        try:
            peer.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        answer = b""
        while data := peer.recv(65536):
            answer += data
        return answer


def records(answer):
    """A letter, a length, and as many bytes, again and again."""
    answer = io.BytesIO(answer)
    while head := answer.read(5):
        kind, length = struct.unpack(">cI", head)
        yield kind, answer.read(length)


def compare(framing, stream, answer):
    """What is wrong with the answer, or None."""
    *told, last = records(answer)
    frames, end = decode(framing, stream)
    if told[::2] != [(b"F", frame) for frame in frames]:
        return f"the frames are {frames} here, {told[::2]} there"
    for frame, theirs in zip(frames, told[1::2]):
        ours = framing.encode(frame)
        if theirs != ((b"R", b"") if ours is None else (b"E", ours)):
            return f"{frame} is encoded as {ours} here, {theirs} there"
    if last != (b".", end.encode()):
        return f"the end is {end!r} here, {last} there"
    return None


def main():
    seed, count = int(sys.argv[1]), int(sys.argv[2])
    ends = {}
    for argument in sys.argv[3:]:
        spec, port = argument.split("=")
        way, kind, *settings = spec.split(":")
        framing = KINDS[kind](*settings)
        rng = random.Random(f"{seed} {spec}")
        for nth in range(count):
            stream = a_stream(rng, framing)
            wrong = compare(framing, stream, converse(int(port), stream, rng))
            if wrong:
                sys.exit(f"{spec}, stream {nth} of seed {seed}: {stream}\n{wrong}")
            ends.setdefault(kind, {}).setdefault(decode(framing, stream)[1], []).append(nth)
    for kind, found in ends.items():
        print(f"{kind}:", ", ".join(f"{len(streams)} × {end}" for end, streams in sorted(found.items())))
        wanted = {"end", "too long"}
        wanted |= {"lines": set(), "returns": set(), "content-length": {"truncated", "malformed"}}.get(kind, {"truncated"})
        if set(found) != wanted:
            sys.exit(f"the streams of {kind} end as {set(found)}, where {wanted} should be seen")


if __name__ == "__main__":
    main()

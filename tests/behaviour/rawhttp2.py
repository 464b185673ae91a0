"""HTTP/2 by hand, for what a gRPC client would never send."""
import socket
import struct

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def integer(number, bits):
    most = (1 << bits) - 1
    if number < most:
        return bytes([number])
    out, number = [most], number - most
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes(out + [number])


def header(name, value):
    """Literal, never indexed, not compressed (RFC 7541)."""
    return b"\x10" + integer(len(name), 7) + name + integer(len(value), 7) + value


def headers(path, more=()):
    lines = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path.encode()), (b":authority", b"localhost"),
             (b"content-type", b"application/grpc"), (b"te", b"trailers"), *more]
    return b"".join(header(name, value) for name, value in lines)


def grpc_message(payload, compressed=False):
    return bytes([compressed]) + struct.pack(">I", len(payload)) + payload


class Connection:
    """One connection with one call on it."""

    def __init__(self, path, timeout=20):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(str(path))
        self.buffer, self.room = b"", {0: 65535, 1: 65535}
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def start(self, path, more=(), end=False):
        self.socket.sendall(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), 1, headers(path, more)))

    def frames(self):
        while True:
            while len(self.buffer) < 9 or len(self.buffer) < 9 + int.from_bytes(self.buffer[:3], "big"):
                piece = self.socket.recv(65536)
                if not piece:
                    return
                self.buffer += piece
            length = int.from_bytes(self.buffer[:3], "big")
            kind, flags, stream = self.buffer[3], self.buffer[4], int.from_bytes(self.buffer[5:9], "big")
            payload, self.buffer = self.buffer[9:9 + length], self.buffer[9 + length:]
            self.note(kind, flags, stream, payload)
            yield kind, flags, stream, payload

    def note(self, kind, flags, stream, payload):
        if kind == WINDOW_UPDATE:
            self.room[stream] = self.room.get(stream, 65535) + int.from_bytes(payload, "big")
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                identifier, value = struct.unpack(">HI", payload[at:at + 6])
                if identifier == 4:  # the initial window
                    self.room[1] += value - 65535
            self.socket.sendall(frame(SETTINGS, ACK, 0, b""))
        elif kind == PING and not flags & ACK:
            self.socket.sendall(frame(PING, ACK, 0, payload))

    def send(self, body, end=True):
        """Sends data as far as the other side lets it; the call's last frames, if it ends."""
        at, frames = 0, self.frames()
        while at < len(body):
            count = min(16384, self.room[0], self.room[1], len(body) - at)
            if count <= 0:
                kind, flags, stream, payload = next(frames, (GOAWAY, 0, 0, b""))
                if kind in (GOAWAY, RST_STREAM) or (stream == 1 and flags & END_STREAM):
                    return payload
                continue
            last = END_STREAM if end and at + count == len(body) else 0
            self.socket.sendall(frame(DATA, last, 1, body[at:at + count]))
            at += count
            self.room[0] -= count
            self.room[1] -= count
        return self.answer() if end else None

    def answer(self):
        """All that comes on the stream until its end."""
        found = b""
        for kind, flags, stream, payload in self.frames():
            if stream == 1:
                found += payload
            if kind in (GOAWAY, RST_STREAM) or (stream == 1 and flags & END_STREAM):
                break
        return found

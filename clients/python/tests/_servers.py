"""A private Rejoin server, a proxy that cuts connections, and a server that answers from a script."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import httpx

ROOT = Path(os.environ.get("REJOIN_ROOT") or Path(__file__).resolve().parents[3])
"""The repository of the server."""
PROGRAM = Path(os.environ.get("REJOIN_BIN") or ROOT / "target" / "debug" / "rejoin")
PATIENCE_SECONDS = 20.0
"""How long something may take that always comes."""


class Server:
    """The `rejoin` program as a process of its own."""

    def __init__(self, settings: dict[str, str], *, disk: Path | None = None) -> None:
        self._settings = settings
        self._disk = disk
        self._listen = "127.0.0.1:0" if disk is None else f"127.0.0.1:{_lasting_port()}"
        self.start()

    def start(self) -> None:
        """Starts it, where it was before if it was, and waits until it listens."""
        if not shutil.which(PROGRAM):
            raise FileNotFoundError(f"{PROGRAM} is no program: build it, or name one by REJOIN_BIN")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("REJOIN_")}
        environment |= self._settings | {"REJOIN_SERVER__LISTEN": self._listen}
        command = [str(PROGRAM), "serve"]
        if self._disk is None:
            command.append("--memory")
        else:
            environment["REJOIN_DISK__PATH"] = str(self._disk)
        self._process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        log: list[str] = []
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._copying = [_in_background(_copy_lines, self._process.stderr, log)]
        line = self._process.stdout.readline()
        found = re.search(r"http://(\S+:\d+)", line)
        assert found, f"no address in {line!r}; its log:\n{''.join(log)}"
        self._copying.append(_in_background(_copy_lines, self._process.stdout, []))
        self._listen = found[1]
        self.port = int(self._listen.rpartition(":")[2])
        self.url = f"http://{self._listen}"

    def kill(self) -> None:
        """Ends it without a farewell."""
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        """Has it drain, and waits for its end."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        self._process.send_signal(number)
        self._process.wait(PATIENCE_SECONDS)
        for copying in self._copying:
            copying.join(PATIENCE_SECONDS)

    def post(self, path: str, **fields: object) -> httpx.Response:
        """A call by other means than the clients that are tested."""
        return httpx.post(self.url + path, json=fields, trust_env=False)

    def get(self, path: str) -> httpx.Response:
        """The same, to look."""
        return httpx.get(self.url + path, trust_env=False)


@contextmanager
def running(settings: dict[str, str], *, disk: Path | None = None) -> Iterator[Server]:
    """A server with these settings, by the names of their environment variables."""
    server = Server(settings, disk=disk)
    try:
        yield server
    finally:
        server.kill()


def _lasting_port() -> int:
    """A port for a server that goes away and comes back: the system gives it to no outgoing connection."""
    while True:
        port = random.randrange(30_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def _copy_lines(source: IO[str], into: list[str]) -> None:
    with source:
        into.extend(source)


def _in_background(call: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=call, args=arguments, daemon=True)
    thread.start()
    return thread


class _Listener:
    """Accepts connections on a free port, and hands each to a thread of its own."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: list[socket.socket] = []
        self.accepted = 0

    def listen(self) -> None:
        _in_background(self._accept)

    def close(self) -> None:
        # An accept that waits is only ended by this.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for one in [self._socket, *self._open]:
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self._open.append(connection)
                connection.settimeout(PATIENCE_SECONDS)
                number, self.accepted = self.accepted, self.accepted + 1
                _in_background(self._serve_quietly, connection, number)

    def _serve_quietly(self, connection: socket.socket, number: int) -> None:
        with suppress(OSError):
            self.serve(connection, number)

    def serve(self, connection: socket.socket, number: int) -> None:
        raise NotImplementedError


def _reset(connection: socket.socket) -> None:
    """Closes a connection so that the other side finds it broken, and not ended."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Proxy(_Listener):
    """Passes bytes on to a server, and cuts each connection after so many of one direction."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._target = port
        self.answer_bytes: Callable[[int], int | None] = lambda number: None
        """How much of its answers a connection passes on, by its number; None: all."""
        self.request_bytes: Callable[[int], int | None] = lambda number: None
        """How much of its requests it passes on."""
        self.stalls = False
        """Whether a connection that is over its bytes stays open and passes nothing on."""

    def serve(self, connection: socket.socket, number: int) -> None:
        server = socket.create_connection(("127.0.0.1", self._target))
        self._open.append(server)
        upward = _in_background(self._pass, connection, server, self.request_bytes(number))
        self._pass(server, connection, self.answer_bytes(number))
        upward.join()

    def _pass(self, source: socket.socket, sink: socket.socket, left: int | None) -> None:
        try:
            while left is None or left > 0:
                some = source.recv(4096 if left is None else min(left, 4096))
                if not some:
                    break
                sink.sendall(some)
                left = None if left is None else left - len(some)
            if left == 0 and self.stalls:
                while source.recv(4096):
                    pass
        except OSError:
            pass
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            with suppress(OSError):
                _reset(one)


class Scripted(_Listener):
    """Answers each request with the next bytes of a script, and closes the connection behind them.

    The last bytes of the script are for all further requests.
    """

    def __init__(self, *answers: bytes) -> None:
        super().__init__()
        self._answers = list(answers)
        self.requests: list[tuple[bytes, bytes]] = []
        """Head and body of each request."""
        self.resets = False
        """Whether connections break where an answer ends."""
        self.holds = threading.Event()
        """Set: connections are closed behind their answers."""
        self.holds.set()

    def serve(self, connection: socket.socket, number: int) -> None:
        head, body = read_request(connection)
        self.requests.append((head, body))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        connection.sendall(answer)
        self.holds.wait(PATIENCE_SECONDS)
        if self.resets:
            _reset(connection)
        else:
            connection.shutdown(socket.SHUT_RDWR)

    def header(self, number: int, name: str) -> str | None:
        """A header of a request."""
        for line in self.requests[number][0].decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(": ")
            if key.lower() == name:
                return value
        return None


def read_request(connection: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of a request."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _some(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        while not body.endswith(b"0\r\n\r\n"):
            body += _some(connection)
        return head, _unchunked(body)
    length = re.search(rb"content-length: (\d+)", lower)
    while length and len(body) < int(length[1]):
        body += _some(connection)
    return head, body


def _some(connection: socket.socket) -> bytes:
    some = connection.recv(65536)
    if not some:
        raise ConnectionError("the request ended early")
    return some


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        whole += body[:length]
        body = body[length + 2 :]
    return whole


def answer(status: str, body: bytes = b"", **headers: str) -> bytes:
    """A whole HTTP answer. Underscores in the names of headers stand for dashes."""
    fields = {"content-length": str(len(body)), "connection": "close"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def stream(*frames: str, whole: bool = True) -> bytes:
    """The answer to a subscribe request, with these frames; not ``whole``: without the last chunk."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    chunks = [f"{len(frame.encode()):x}\r\n{frame}\r\n".encode() for frame in frames]
    return head + b"".join(chunks) + (b"0\r\n\r\n" if whole else b"")


@contextmanager
def proxying(server: Server) -> Iterator[Proxy]:
    """A proxy before a server."""
    proxy = Proxy(server.port)
    proxy.listen()
    try:
        yield proxy
    finally:
        proxy.close()


@contextmanager
def scripted(*answers: bytes) -> Iterator[Scripted]:
    """A server that answers so."""
    server = Scripted(*answers)
    server.listen()
    try:
        yield server
    finally:
        server.close()
